// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>

#include <atomic>
#include <cstdint>
#include <thread>

namespace kombu::net {

/// Mutual exclusion between a session's user (one thread at a time, recursive) and the heartbeat thread. The heartbeat
/// thread never waits; the user waits for the heartbeat thread, for some microseconds.
class SessionLock {
public:
    /// Enables locking by the heartbeat thread. Call it before that thread knows the session.
    void enable_background() noexcept {
        background_enabled_ = true;
        if (depth_ != 0) state_.store(user, std::memory_order_relaxed);
    }

    void lock() noexcept {
        if (depth_++ != 0 || !background_enabled_) return;
        for (auto expected = free; !state_.compare_exchange_weak(expected, user, std::memory_order_acquire);
             expected = free) {
            if (epoch_ != kombu::detail::fork_epoch()) return;  // the heartbeat thread and the session are the parent's
            std::this_thread::yield();
        }
    }
    void unlock() noexcept {
        if (--depth_ == 0 && background_enabled_) state_.store(free, std::memory_order_release);
    }

    bool try_lock_background() noexcept {
        auto expected = free;
        return state_.compare_exchange_strong(expected, background, std::memory_order_acquire);
    }
    void unlock_background() noexcept { state_.store(free, std::memory_order_release); }

    /// Locks for the session's user.
    class Guard {
    public:
        explicit Guard(SessionLock& lock) noexcept : lock_(lock) { lock_.lock(); }
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;
        ~Guard() { lock_.unlock(); }

    private:
        SessionLock& lock_;
    };

private:
    enum State : std::uint8_t { free, user, background };
    std::atomic<State> state_{free};
    bool background_enabled_ = false;
    int depth_ = 0;
    const std::uint32_t epoch_ = kombu::detail::fork_epoch();
};

}  // namespace kombu::net
