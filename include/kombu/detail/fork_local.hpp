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

/// A value that a forked child makes anew at its first use. The inherited one may be half changed, or locked by a
/// thread that the child does not have; it is neither destroyed nor read, except by `make`.
///
/// `make(inherited)` gets the parent's value, or null. It may read only constants and atomics of it.
template <class Value>
class ForkLocal {
public:
    constexpr ForkLocal() noexcept = default;
    ForkLocal(const ForkLocal&) = delete;
    ForkLocal& operator=(const ForkLocal&) = delete;
    ~ForkLocal() {
        Node* const node = node_.load(std::memory_order_relaxed);
        if (node && node->epoch == fork_epoch()) delete node;
    }

    template <class Make>
    Value& get(Make make) {
        Node* node = node_.load(std::memory_order_acquire);
        if (node && node->epoch == fork_epoch()) [[likely]]
            return node->value;
        return make_for_child(node, make);
    }
    Value& get() {
        return get([](const Value*) { return Value{}; });
    }
    /// Null when this process has not made the value.
    Value* get_if_of_this_process() const noexcept {
        Node* const node = node_.load(std::memory_order_acquire);
        return node && node->epoch == fork_epoch() ? &node->value : nullptr;
    }

private:
    struct Node {
        template <class Make>
        Node(const Node* inherited_node, Make& make)
            : inherited(inherited_node), value(make(inherited_node ? &inherited_node->value : nullptr)) {}
        const std::uint32_t epoch = fork_epoch();
        const Node* const inherited;  // kept reachable
        Value value;
    };

    template <class Make>
    Value& make_for_child(Node* expected, Make& make) {
        install_fork_handler();
        Node* const created = new Node{expected, make};
        if (node_.compare_exchange_strong(expected, created, std::memory_order_acq_rel)) return created->value;
        delete created;
        return expected->value;
    }

    std::atomic<Node*> node_{nullptr};
};

/// A value that is changed under a lock, by copying it. In a forked child the lock may be held for ever; the child
/// continues with a copy of the last complete version.
template <class Value>
class CopyOnWrite {
public:
    explicit CopyOnWrite(Value value) : first_(std::move(value)) {}

    std::unique_lock<std::mutex> lock() const { return std::unique_lock{state().mutex}; }
    /// With the lock, until the next set().
    const Value& get() const { return *state().value; }
    /// With the lock. Returns the previous version, which the caller destroys without the lock.
    std::shared_ptr<const Value> set(Value value) {
        State& state = this->state();
        auto created = std::make_shared<const Value>(std::move(value));
        state.whole.store(created.get(), std::memory_order_release);
        return std::exchange(state.value, std::move(created));
    }

private:
    struct State {
        explicit State(const Value& of) : value(std::make_shared<const Value>(of)), whole(value.get()) {}
        std::mutex mutex{};
        std::shared_ptr<const Value> value;
        std::atomic<const Value*> whole;
    };
    State& state() const {
        return state_.get([this](const State* inherited) {
            return State{inherited ? *inherited->whole.load(std::memory_order_acquire) : first_};
        });
    }

    const Value first_;
    mutable ForkLocal<State> state_;
};

/// Does not destroy its value when the process exits: threads may still use it.
template <class Value>
union NoDestructor {
    constexpr NoDestructor() noexcept : value{} {}
    NoDestructor(const NoDestructor&) = delete;
    NoDestructor& operator=(const NoDestructor&) = delete;
    ~NoDestructor() {}
    Value value;
};

/// A mutex that is unlocked in a forked child. What it protects must be consistent at any moment, or unused in a child.
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
            reinitialise();
        mutex_.lock();
    }
    void unlock() { mutex_.unlock(); }

private:
    /// Marks the epoch of a process that is reinitialising the mutex, as opposed to one that forked while it did.
    static constexpr std::uint32_t in_progress = std::uint32_t{1} << 31;

    void reinitialise() noexcept {
        std::uint32_t expected = epoch_.load(std::memory_order_acquire);
        while (expected != fork_epoch()) {
            const std::uint32_t mark = fork_epoch() | in_progress;
            if (expected == mark || !epoch_.compare_exchange_weak(expected, mark, std::memory_order_acquire)) {
                expected = epoch_.load(std::memory_order_acquire);
                continue;
            }
            new (&mutex_) std::mutex;
            epoch_.store(expected = fork_epoch(), std::memory_order_release);
        }
    }

    std::atomic<std::uint32_t> epoch_{fork_epoch()};
    union {
        std::mutex mutex_{};
    };
};

}  // namespace kombu::detail
