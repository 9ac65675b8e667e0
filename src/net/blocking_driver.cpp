// SPDX-License-Identifier: BSD-3-Clause
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

/// Returns the events that occurred; 0 when the deadline passed.
short poll_until(int descriptor, short events, Deadline deadline) {
    for (;;) {
        pollfd entry{descriptor, events, 0};
        timespec timeout{};
        if (!deadline.is_never()) {
            const auto remaining = deadline.remaining();
            const auto seconds = std::chrono::floor<std::chrono::seconds>(remaining);
            timeout = {static_cast<time_t>(seconds.count()), static_cast<long>((remaining - seconds).count())};
        }
        const int count = ::ppoll(&entry, 1, deadline.is_never() ? nullptr : &timeout, nullptr);
        if (count > 0) return entry.revents;
        if (count == 0) return 0;
        if (errno != EINTR) throw ConnectionError("poll: " + std::generic_category().message(errno));
    }
}

/// Waits by a blocking read, which saves the poll. Returns nothing when that is not possible, or the read failed.
std::optional<std::size_t> try_receive(const async::Wait& wait) {
    const bool can_receive =
        wait.into && !wait.write && !wait.signal && (wait.until.is_never() || wait.until.remaining() > receive_timeout);
    if (!can_receive) return std::nullopt;
    const ssize_t count = ::recv(wait.handle->descriptor, wait.into, wait.size, 0);
    if (count < 0) return std::nullopt;
    return static_cast<std::size_t>(count);
}

/// Wakes a thread. After the store it uses only the address of woken_: the object may be destroyed by then.
class ThreadWaker final : public async::Waker {
public:
    void wake() noexcept override {
        woken_.store(1, std::memory_order_release);
        kombu::detail::futex_wake(&woken_);
    }
    /// Returns whether it was woken. With `signal` false it waits until the deadline.
    bool wait(bool signal, Deadline until) noexcept {
        const std::int64_t when =
            until.is_never() ? -1 : std::max<std::int64_t>(until.when().time_since_epoch().count(), 0);
        while (!until.expired()) {
            // Consumed also when it is of no interest: the wait below returns at once for a word that is set.
            if (woken_.exchange(0, std::memory_order_acquire) != 0 && signal) return true;
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
        wait.handle->registration.reset();  // an event loop that registered it must not be woken
        if (const auto received = try_receive(wait)) {
            ready = {.read = true, .received = received};
            continue;
        }
        const auto wanted = static_cast<short>(POLLIN | (wait.write ? POLLOUT : 0));
        const short events = poll_until(wait.handle->descriptor, wanted, wait.until);
        // The next read reports errors and hang-ups.
        ready = {.read = (events & ~POLLOUT) != 0, .write = (events & POLLOUT) != 0};
    }
}

}  // namespace kombu::net
