// SPDX-License-Identifier: BSD-3-Clause
#include "net/blocking_driver.hpp"

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <system_error>

namespace kombu::net {
namespace {

/// Waits for one of `entries`. Returns false when the deadline passed.
bool poll_until(std::span<pollfd> entries, Deadline deadline) {
    for (;;) {
        timespec timeout{};
        if (!deadline.is_never()) {
            const auto remaining = deadline.remaining();
            const auto seconds = std::chrono::floor<std::chrono::seconds>(remaining);
            timeout = {static_cast<time_t>(seconds.count()), static_cast<long>((remaining - seconds).count())};
        }
        const int count = ::ppoll(entries.data(), entries.size(), deadline.is_never() ? nullptr : &timeout, nullptr);
        if (count >= 0) return count > 0;
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

/// Wakes a thread that waits for a signal, or for a descriptor and a signal.
class ThreadWaker final : public async::Waker {
public:
    ThreadWaker() = default;
    ThreadWaker(const ThreadWaker&) = delete;
    ThreadWaker& operator=(const ThreadWaker&) = delete;
    ~ThreadWaker() {
        if (event_ >= 0) ::close(event_);
    }

    void wake() noexcept override {
        // No system call unless the thread waits: either this sees that it does, or the thread sees that it is woken.
        if (woken_.exchange(1) != 0 || !waits_.load()) return;
        kombu::detail::futex_wake(&woken_);
        if (event_ < 0) return;
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t count = ::write(event_, &one, sizeof one);
    }
    /// Returns whether it was woken. With `signal` false it waits until the deadline.
    bool wait(bool signal, Deadline until) noexcept {
        const std::int64_t when =
            until.is_never() ? -1 : std::max<std::int64_t>(until.when().time_since_epoch().count(), 0);
        const Waiting waiting{*this};
        while (!until.expired()) {
            // Consumed also when it is of no interest: the wait below returns at once for a word that is set.
            if (woken_.exchange(0) != 0 && signal) return true;
            kombu::detail::futex_wait(woken_, when);
        }
        return false;
    }
    /// While it exists, wake() makes system calls. It must exist before the thread looks at woken_.
    class Waiting {
    public:
        explicit Waiting(ThreadWaker& waker) noexcept : waker_(waker) { waker_.waits_.store(true); }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() { waker_.waits_.store(false); }

    private:
        ThreadWaker& waker_;
    };

    /// For a wait that a descriptor ends too: becomes readable by wake().
    int event_descriptor() {
        if (event_ < 0) {
            const int created = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            if (created < 0) throw ConnectionError("eventfd: " + std::generic_category().message(errno));
            event_ = created;  // before woken_ is read
        }
        return event_;
    }
    bool take() noexcept { return woken_.exchange(0) != 0; }
    void drain() noexcept {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t size = ::read(event_, &count, sizeof count);
    }

private:
    std::atomic<std::uint32_t> woken_{0};
    std::atomic<bool> waits_{false};
    std::atomic<int> event_{-1};
};

async::Ready wait_for_descriptor(const async::Wait& wait, ThreadWaker& waker) {
    const auto wanted = static_cast<short>(POLLIN | (wait.write ? POLLOUT : 0));
    std::array<pollfd, 2> entries{{{wait.handle->descriptor, wanted, 0}, {-1, POLLIN, 0}}};
    std::optional<ThreadWaker::Waiting> waiting;
    if (wait.signal) {
        entries[1].fd = waker.event_descriptor();
        waiting.emplace(waker);
        if (waker.take()) return {.signal = true};
    }
    if (!poll_until(std::span{entries}.first(wait.signal ? 2 : 1), wait.until)) return {};
    if (entries[1].revents != 0) waker.drain();
    const short events = entries[0].revents;
    // The next read reports errors and hang-ups.
    return {.read = (events & ~POLLOUT) != 0,
            .write = (events & POLLOUT) != 0,
            .signal = entries[1].revents != 0 && waker.take()};
}

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
        ready = wait_for_descriptor(wait, waker);
    }
}

}  // namespace kombu::net
