#pragma once

#include <kombu/detail/process.hpp>

#include <atomic>
#include <cstdint>
#include <thread>

namespace kombu::net {

/// Whose turn it is to touch a session: that of its user, one thread at a time and maybe nested, or of the thread that
/// keeps it alive meanwhile. The keeper never waits; the user waits for the keeper, who takes some microseconds.
class Turn {
public:
    /// From now on there may be a keeper. Before it knows of the session.
    void share() noexcept {
        shared_ = true;
        if (depth_ != 0) state_.store(user, std::memory_order_relaxed);
    }

    void take() noexcept {
        if (depth_++ != 0 || !shared_) return;
        for (auto expected = free; !state_.compare_exchange_weak(expected, user, std::memory_order_acquire);
             expected = free) {
            if (epoch_ != kombu::detail::fork_epoch()) return;  // the keeper is the parent's, and so is the session
            std::this_thread::yield();
        }
    }
    void give() noexcept {
        if (--depth_ == 0 && shared_) state_.store(free, std::memory_order_release);
    }

    bool try_keep() noexcept {
        auto expected = free;
        return state_.compare_exchange_strong(expected, keeper, std::memory_order_acquire);
    }
    void end_keep() noexcept { state_.store(free, std::memory_order_release); }

    /// For the user.
    class Held {
    public:
        explicit Held(Turn& turn) noexcept : turn_(turn) { turn_.take(); }
        Held(const Held&) = delete;
        Held& operator=(const Held&) = delete;
        ~Held() { turn_.give(); }

    private:
        Turn& turn_;
    };

private:
    enum State : std::uint8_t { free, user, keeper };
    std::atomic<State> state_{free};
    bool shared_ = false;
    int depth_ = 0;
    const std::uint32_t epoch_ = kombu::detail::fork_epoch();
};

}  // namespace kombu::net
