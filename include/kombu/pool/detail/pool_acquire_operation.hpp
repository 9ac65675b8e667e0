// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// How PoolState acquires for callers that must not be blocked. They wait in the same queue as threads.
#include <kombu/pool/detail/pool_state.hpp>

namespace kombu::detail {

/// An operation in the queue. It leaves when it is destroyed; what it was granted and did not take goes to others.
template <class T>
class PoolState<T>::WaitingOperation final : public Waiter {
public:
    WaitingOperation(PoolState& state, Waker& waker, Clock::time_point since, Deadline deadline) noexcept
        : Waiter(since, deadline.when()), state_(state), waker_(waker) {}
    WaitingOperation(const WaitingOperation&) = delete;
    WaitingOperation& operator=(const WaitingOperation&) = delete;
    ~WaitingOperation() {
        if (!enqueued_ || !state_.is_of_this_process()) return;
        std::unique_lock lock{state_.table_.mutex()};
        state_.core_.abandon(*this, Clock::now());
        lock.unlock();
        if (decision.grant == Grant::use || decision.grant == Grant::create) state_.put_back(decision.slot);
    }

    void wake() noexcept override { waker_.wake(); }

    // With the lock.
    Decision enqueue() {
        enqueued_ = true;
        const Decision at_once = state_.core_.enqueue(*this);
        enqueued_ = at_once.grant == Grant::none;
        return at_once;
    }
    /// What was decided, or `none`. After each time it was woken, with or without a reason.
    Decision look(Deadline deadline) {
        if (poked()) state_.core_.retry(*this, Clock::now());
        if (decision.grant == Grant::none && deadline.expired() && state_.core_.abandon(*this, Clock::now()))
            return {Grant::timed_out};
        return std::exchange(decision, {});
    }

private:
    PoolState& state_;
    Waker& waker_;
    bool enqueued_ = false;
};

template <class T>
Operation<Lease<T>> PoolState<T>::acquire_operation(AcquireOptions options) {
    Waker& waker = co_await ask_waker;
    const auto start = Clock::now();
    const Acquisition acquisition{Deadline::after(options.timeout), true, false, options.site, true};
    Visit visit;
    {
        std::lock_guard lock{table_.mutex()};
        visit.begin(*this);
    }
    for (;;) {
        Decision decision;
        if (SlotCell* const taken = take()) {
            decision = {Grant::use, taken->id.load(std::memory_order_relaxed)};
        } else {
            WaitingOperation waiting{*this, waker, start, acquisition.deadline};
            std::unique_lock lock{table_.mutex()};
            decision = core_.acquire(start, true);
            const bool too_many = decision.grant == Grant::full && has_too_many_waiters();
            if (decision.grant == Grant::full && !too_many) {
                upkeep_.observe(core_, start);
                decision = waiting.enqueue();
                while (decision.grant == Grant::none) {
                    lock.unlock();
                    co_await Wait{.signal = true, .until = acquisition.deadline};
                    if (!is_of_this_process()) throw_inherited();
                    lock.lock();
                    decision = waiting.look(acquisition.deadline);
                }
            }
            if (decision.grant == Grant::closed) throw_closed();
            if (decision.grant != Grant::use && decision.grant != Grant::create)
                refuse(std::move(lock), acquisition, start, too_many);
        }
        Holding holding{*this, decision.slot};
        if (!make_ready(decision, holding, acquisition, visit)) continue;
        if (factory_.prepare_operation) {
            SlotCell& cell = table_.cell(decision.slot);
            const bool lives = co_await factory_.prepare_operation(resource_of(cell), acquisition);
            if (!is_of_this_process()) throw_inherited();
            if (!lives) {
                holding.keep();
                throw_away(cell, CloseReason::dead);
                continue;
            }
            if (!table_.is_current(cell) && is_orphaned(decision.slot, visit)) continue;
        }
        co_return hand_out(holding, start, true, options.site);
    }
}

}  // namespace kombu::detail
