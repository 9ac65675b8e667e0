// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/pool/detail/wait_queue.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

namespace kombu::detail {

/// Wakes threads. Can hold the first of several wakes back until the pool's lock is released, so that the woken thread
/// does not block on it. Used with the lock held.
class WakeBatch {
public:
    void wake(const void* word) noexcept {
        if (holds_ && !held_)
            held_ = word;
        else
            futex_wake(word);
    }
    void hold() noexcept { holds_ = true; }
    /// Returns the word that the caller must pass to futex_wake() after it has released the lock; null: none.
    const void* take_held() noexcept {
        holds_ = false;
        return std::exchange(held_, nullptr);
    }

private:
    bool holds_ = false;
    const void* held_ = nullptr;
};

/// A thread that waits in the queue. It reads its decision without the lock.
class ThreadWaiter final : public Waiter {
public:
    ThreadWaiter(WakeBatch& wakes, Clock::time_point since, Deadline deadline) noexcept
        : Waiter(since, deadline.when()), wakes_(wakes) {}

    void wake() noexcept override {
        WakeBatch& wakes = wakes_;
        // With a decision the waiting call may return at once and destroy this: only the address is used afterwards.
        reason_.store(decision.outcome == AcquireOutcome::none ? retry : decided, std::memory_order_release);
        wakes.wake(&reason_);
    }

    enum WakeReason : std::uint32_t { timeout, retry, decided };
    /// Waits without the lock.
    WakeReason wait(Deadline deadline) noexcept {
        const std::int64_t when =
            deadline.is_never() ? -1 : std::max<std::int64_t>(deadline.when().time_since_epoch().count(), 0);
        for (;;) {
            const auto reason = static_cast<WakeReason>(reason_.load(std::memory_order_acquire));
            if (reason != timeout || deadline.expired()) return reason;
            futex_wait(reason_, when);
        }
    }
    /// With the lock: the next wait() waits again.
    void rearm() noexcept { reason_.store(timeout, std::memory_order_relaxed); }

private:
    WakeBatch& wakes_;
    std::atomic<std::uint32_t> reason_{timeout};
};

}  // namespace kombu::detail
