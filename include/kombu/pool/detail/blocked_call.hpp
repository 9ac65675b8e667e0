// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/pool/detail/waiter.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

namespace kombu::detail {

/// Wakes threads, and keeps the first of some until the lock is free: it would only run into the lock. With the lock.
class Wakes {
public:
    void wake(const void* word) noexcept {
        if (defers_ && !later_)
            later_ = word;
        else
            futex_wake(word);
    }
    void defer() noexcept { defers_ = true; }
    /// Whom the caller must wake by futex_wake() when the lock is free; null: nobody.
    const void* take_deferred() noexcept {
        defers_ = false;
        return std::exchange(later_, nullptr);
    }

private:
    bool defers_ = false;
    const void* later_ = nullptr;
};

/// A thread that waits. What is decided about it is read without the lock.
class BlockedCall final : public Waiter {
public:
    BlockedCall(Wakes& wakes, Clock::time_point since, Deadline deadline) noexcept
        : Waiter(since, deadline.when()), wakes_(wakes) {}

    void wake() noexcept override {
        Wakes& wakes = wakes_;
        // With a decision the call may be over at once: only the address counts after this.
        woken_.store(decision.grant == Grant::none ? poked : decided, std::memory_order_release);
        wakes.wake(&woken_);
    }

    enum Woken : std::uint32_t { too_late, poked, decided };
    /// Without the lock.
    Woken wait(Deadline deadline) noexcept {
        const std::int64_t when =
            deadline.is_never() ? -1 : std::max<std::int64_t>(deadline.when().time_since_epoch().count(), 0);
        for (;;) {
            const auto woken = static_cast<Woken>(woken_.load(std::memory_order_acquire));
            if (woken != too_late || deadline.expired()) return woken;
            futex_wait(woken_, when);
        }
    }
    /// With the lock: from now on wait() waits again.
    void wait_again() noexcept { woken_.store(too_late, std::memory_order_relaxed); }

private:
    Wakes& wakes_;
    std::atomic<std::uint32_t> woken_{too_late};
};

}  // namespace kombu::detail
