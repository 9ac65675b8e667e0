// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

namespace kombu::detail {

/// A value that a forked child gets anew at its first use, since what it inherits may be half changed, or locked by a
/// thread that it does not have. The parent's value is left alone: not destroyed, not read, except by `make`.
///
/// `make(parents)` gets the value of the parent, or null, and may read only what is always whole: constants and
/// atomics.
template <class Value>
class PerProcess {
public:
    constexpr PerProcess() noexcept = default;
    PerProcess(const PerProcess&) = delete;
    PerProcess& operator=(const PerProcess&) = delete;
    ~PerProcess() {
        Node* const node = node_.load(std::memory_order_relaxed);
        if (node && node->epoch == fork_epoch()) delete node;
    }

    template <class Make>
    Value& get(Make make) {
        Node* node = node_.load(std::memory_order_acquire);
        if (node && node->epoch == fork_epoch()) [[likely]]
            return node->value;
        return make_anew(node, make);
    }
    Value& get() {
        return get([](const Value*) { return Value{}; });
    }

private:
    struct Node {
        template <class Make>
        Node(const Node* of_parent, Make& make)
            : parents(of_parent), value(make(of_parent ? &of_parent->value : nullptr)) {}
        const std::uint32_t epoch = fork_epoch();
        const Node* const parents;  // keeps it reachable
        Value value;
    };

    template <class Make>
    Value& make_anew(Node* known, Make& make) {
        notice_forks();
        Node* const fresh = new Node{known, make};
        if (node_.compare_exchange_strong(known, fresh, std::memory_order_acq_rel)) return fresh->value;
        delete fresh;
        return known->value;
    }

    std::atomic<Node*> node_{nullptr};
};

/// A value that is changed under a lock, by copying it: a forked child, where the lock may be held for ever, finds the
/// last whole version and goes on with a copy of it.
template <class Value>
class CopyOnWrite {
public:
    explicit CopyOnWrite(Value value) : first_(std::move(value)) {}

    std::unique_lock<std::mutex> lock() const { return std::unique_lock{state().mutex}; }
    /// With the lock, until the next set().
    const Value& get() const { return *state().value; }
    /// With the lock. Returns what was before, to be destroyed without the lock.
    std::shared_ptr<const Value> set(Value value) {
        State& state = this->state();
        auto fresh = std::make_shared<const Value>(std::move(value));
        state.whole.store(fresh.get(), std::memory_order_release);
        return std::exchange(state.value, std::move(fresh));
    }

private:
    struct State {
        explicit State(const Value& of) : value(std::make_shared<const Value>(of)), whole(value.get()) {}
        std::mutex mutex{};
        std::shared_ptr<const Value> value;
        std::atomic<const Value*> whole;
    };
    State& state() const {
        return state_.get([this](const State* parents) {
            return State{parents ? *parents->whole.load(std::memory_order_acquire) : first_};
        });
    }

    const Value first_;
    mutable PerProcess<State> state_;
};

/// Keeps its value from being destroyed when the process exits, while threads may still use it.
template <class Value>
union Immortal {
    constexpr Immortal() noexcept : value{} {}
    Immortal(const Immortal&) = delete;
    Immortal& operator=(const Immortal&) = delete;
    ~Immortal() {}
    Value value;
};

/// A mutex that is free in a forked child, for what it protects is whole at any moment or of no use to the child.
class ForkSafeMutex {
public:
    ForkSafeMutex() = default;
    ForkSafeMutex(const ForkSafeMutex&) = delete;
    ForkSafeMutex& operator=(const ForkSafeMutex&) = delete;
    ~ForkSafeMutex() {
        if (epoch_.load(std::memory_order_relaxed) == fork_epoch()) mutex_.~mutex();
    }
    void lock() {
        if (epoch_.load(std::memory_order_acquire) != fork_epoch()) [[unlikely]]
            begin_anew();
        mutex_.lock();
    }
    void unlock() { mutex_.unlock(); }

private:
    /// Marks an epoch as that of a process which is beginning anew, and not of one that forked while it did.
    static constexpr std::uint32_t at_work = std::uint32_t{1} << 31;

    void begin_anew() noexcept {
        std::uint32_t known = epoch_.load(std::memory_order_acquire);
        while (known != fork_epoch()) {
            const std::uint32_t mark = fork_epoch() | at_work;
            if (known == mark || !epoch_.compare_exchange_weak(known, mark, std::memory_order_acquire)) {
                known = epoch_.load(std::memory_order_acquire);
                continue;
            }
            new (&mutex_) std::mutex;
            epoch_.store(known = fork_epoch(), std::memory_order_release);
        }
    }

    std::atomic<std::uint32_t> epoch_{fork_epoch()};
    union {
        std::mutex mutex_{};
    };
};

}  // namespace kombu::detail
