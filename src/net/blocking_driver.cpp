#include "net/blocking_driver.hpp"

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
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

/// Reads as it waits, which saves the waiting: nothing when that cannot be done, or nothing came for a while.
std::optional<std::size_t> receive(const async::Wait& wait) {
    const bool worth_it =
        wait.into && !wait.write && !wait.signal && (wait.until.is_never() || wait.until.remaining() > receive_timeout);
    if (!worth_it) return std::nullopt;
    const ssize_t count = ::recv(wait.handle->descriptor, wait.into, wait.size, 0);
    if (count < 0) return std::nullopt;
    return static_cast<std::size_t>(count);
}

/// Wakes a thread. Only its address counts once the thread may have gone on.
class ThreadWaker final : public async::Waker {
public:
    void wake() noexcept override {
        woken_.store(1, std::memory_order_release);
        kombu::detail::futex_wake(&woken_);
    }
    /// Whether it was woken. With `signal` false it is the time that is waited for.
    bool wait(bool signal, Deadline until) noexcept {
        const std::int64_t when =
            until.is_never() ? -1 : std::max<std::int64_t>(until.when().time_since_epoch().count(), 0);
        while (!until.expired()) {
            if (signal && woken_.exchange(0, std::memory_order_acquire) != 0) return true;
            kombu::detail::futex_wait(woken_, when);
        }
        return false;
    }

private:
    std::atomic<std::uint32_t> woken_{0};
};

}  // namespace

void drive(async::OperationHandle operation) {
    ThreadWaker waker;
    operation.set_waker(waker);
    async::Ready ready;
    while (!operation.resume(ready)) {
        const async::Wait& wait = operation.wait();
        if (!wait.handle) {
            ready = {.signal = waker.wait(wait.signal, wait.until)};
            continue;
        }
        wait.handle->registration.reset();  // an event loop that had it before would only be disturbed
        if (const auto received = receive(wait)) {
            ready = {.read = true, .received = received};
            continue;
        }
        const auto wanted = static_cast<short>(POLLIN | (wait.write ? POLLOUT : 0));
        const short events = poll_until(wait.handle->descriptor, wanted, wait.until);
        // Errors and hang-ups show themselves when the descriptor is read.
        ready = {.read = (events & ~POLLOUT) != 0, .write = (events & POLLOUT) != 0};
    }
}

}  // namespace kombu::net
