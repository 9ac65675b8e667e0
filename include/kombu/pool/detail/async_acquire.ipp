// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/async_acquire.hpp>

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>

namespace kombu::detail {

/// An operation in the queue. Its destruction removes it; what it was granted and did not take goes to other callers.
class AsyncAcquire::OperationWaiter final : public Waiter {
public:
    OperationWaiter(PoolEngine& engine, async::Waker& waker, Clock::time_point since, Deadline deadline) noexcept
        : Waiter(since, deadline.when(), false), engine_(engine), waker_(waker) {}
    OperationWaiter(const OperationWaiter&) = delete;
    OperationWaiter& operator=(const OperationWaiter&) = delete;
    ~OperationWaiter() {
        if (!enqueued_ || !engine_.is_of_this_process()) return;
        auto held = engine_.lock();
        engine_.core_.cancel(*this, Clock::now());
        held.unlock();
        if (decision.outcome == AcquireOutcome::use || decision.outcome == AcquireOutcome::create)
            engine_.return_reservation(decision.slot);
    }

    void wake() noexcept override { waker_.wake(); }

    // With the lock.
    Decision enqueue() {
        enqueued_ = true;
        const Decision at_once = engine_.core_.enqueue(*this);
        enqueued_ = at_once.outcome == AcquireOutcome::none;
        return at_once;
    }
    /// The decision, or `none`. Called after each wake, which may have had no reason.
    Decision poll(Deadline deadline) {
        if (decision.outcome == AcquireOutcome::none && deadline.expired() && engine_.core_.cancel(*this, Clock::now()))
            decision = {AcquireOutcome::timed_out};
        enqueued_ = decision.outcome == AcquireOutcome::none;
        return decision;
    }

private:
    PoolEngine& engine_;
    async::Waker& waker_;
    bool enqueued_ = false;
};

KOMBU_POOL_INLINE async::Operation<AnyLease> AsyncAcquire::run(PoolEngine& engine, AcquireOptions options,
                                                               const AnyPrepareHook* hook) {
    async::Waker& waker = co_await async::this_waker;
    const auto start = Clock::now();
    const Acquisition acquisition{Deadline::after(options.timeout), true, false, options.site, true};
    PoolEngine::EngineRef reference;
    for (;;) {
        Decision decision;
        if (SlotCell* const acquired = engine.try_acquire_slot()) {
            decision = {AcquireOutcome::use, acquired->id.load(std::memory_order_relaxed)};
        } else {
            OperationWaiter waiter{engine, waker, start, acquisition.deadline};
            auto held = engine.lock();
            decision = engine.core_.acquire(start, true);
            const bool too_many = decision.outcome == AcquireOutcome::full && engine.has_too_many_waiters();
            if (decision.outcome == AcquireOutcome::full && !too_many) {
                engine.observe_leases(start);
                decision = waiter.enqueue();
                while (decision.outcome == AcquireOutcome::none) {
                    reference.retain(engine);
                    held.unlock();
                    co_await async::Wait{.signal = true, .until = acquisition.deadline};
                    if (!engine.is_of_this_process()) engine.throw_inherited();
                    held.lock();
                    decision = waiter.poll(acquisition.deadline);
                }
            }
            if (decision.outcome == AcquireOutcome::closed) engine.throw_closed();
            if (decision.outcome == AcquireOutcome::no_memory) throw std::bad_alloc{};
            if (decision.outcome != AcquireOutcome::use && decision.outcome != AcquireOutcome::create) {
                reference.retain(engine);
                engine.throw_limit_exceeded(std::move(held), acquisition, start, too_many);
            }
            reference.release_beside_slot();
        }
        PoolEngine::SlotReservation reservation{engine, decision.slot};
        if (engine.is_ready_at_once(decision, options.site))
            co_return AnyLease{engine, *engine.commit(reservation, start, true, options.site)};
        if (!engine.make_ready(decision, reservation, acquisition, start, reference)) continue;
        if (hook) {
            SlotCell& cell = engine.table_.cell(decision.slot);
            const bool usable = co_await hook->prepare(PoolEngine::resource_of(cell), acquisition);
            if (!engine.is_of_this_process()) engine.throw_inherited();
            if (!usable) {
                {
                    const auto held = engine.lock();
                    reference.retain(engine);
                }
                reservation.dismiss();
                engine.close_and_free(cell, CloseReason::dead);
                if (decision.outcome == AcquireOutcome::create)
                    throw OperationalError("a new resource of the pool was not usable");
                continue;
            }
            if (!engine.table_.is_current(cell) && engine.is_orphaned(decision.slot, reference)) continue;
        }
        co_return AnyLease{engine, *engine.commit(reservation, start, true, options.site)};
    }
}

}  // namespace kombu::detail
