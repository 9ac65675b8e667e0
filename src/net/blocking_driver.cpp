#include "net/blocking_driver.hpp"

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

namespace kombu::net {
namespace {

/// Which of the events came; none at the deadline.
short poll_until(int descriptor, short events, Deadline deadline) {
    for (;;) {
        pollfd waiting{descriptor, events, 0};
        timespec left{};
        if (!deadline.is_never()) {
            const auto remaining = deadline.remaining();
            const auto seconds = std::chrono::floor<std::chrono::seconds>(remaining);
            left = {static_cast<time_t>(seconds.count()), static_cast<long>((remaining - seconds).count())};
        }
        const int count = ::ppoll(&waiting, 1, deadline.is_never() ? nullptr : &left, nullptr);
        if (count > 0) return waiting.revents;
        if (count == 0) return 0;
        if (errno != EINTR) throw ConnectionError("poll: " + std::generic_category().message(errno));
    }
}

}  // namespace

Ready BlockingDriver::wait(const Wait& what) {
    if (what.handle) {
        what.handle->registration.reset();  // an event loop that had it before would only be disturbed
        const short wanted = static_cast<short>(POLLIN | (what.write ? POLLOUT : 0));
        const short events = poll_until(what.handle->descriptor, wanted, what.until);
        // Errors and hang-ups show themselves when the descriptor is read.
        return {.read = (events & ~POLLOUT) != 0, .write = (events & POLLOUT) != 0};
    }
    const std::int64_t when =
        what.until.is_never() ? -1 : std::max<std::int64_t>(what.until.when().time_since_epoch().count(), 0);
    while (!what.until.expired()) {
        if (what.signal && woken_.exchange(0, std::memory_order_acquire) != 0) return {.signal = true};
        kombu::detail::futex_wait(woken_, when);
    }
    return {};
}

void BlockingDriver::wake() noexcept {
    woken_.store(1, std::memory_order_release);
    kombu::detail::futex_wake(&woken_);
}

}  // namespace kombu::net
