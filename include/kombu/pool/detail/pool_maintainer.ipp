// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_maintainer.hpp>

#include <chrono>
#include <new>
#include <string>
#include <thread>
#include <utility>

namespace kombu::detail {

/// For one preload or keepalive: the thread serves other pools too.
inline constexpr std::chrono::seconds maintenance_budget{5};

KOMBU_POOL_INLINE void PoolMaintainer::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    const Acquisition acquisition{deadline, false, true, site};
    for (;;) {
        Decision decision;
        {
            const auto held = engine_.lock();
            if (engine_.core_.closed())
                throw PoolClosed(engine_.reporter_.display_name() + ": warm_up on a closed pool");
            if (engine_.core_.live() >= count) return;
            const PoolCore& core = engine_.core_;
            if (core.live() + core.creating() < count) decision = engine_.core_.reserve_for_preload(false);
            if (decision.outcome == AcquireOutcome::no_memory) throw std::bad_alloc{};
            // No capacity: the pool is at its limit, or others are creating or closing.
            if (decision.outcome != AcquireOutcome::create && core.creating() + core.closing() == 0) return;
        }
        if (deadline.expired()) {
            if (decision.outcome == AcquireOutcome::create) engine_.return_reservation(decision.slot);
            throw Timeout(
                engine_.reporter_.display_name() + ": warm_up did not create " + std::to_string(count) + " in time",
                false);
        }
        if (decision.outcome == AcquireOutcome::create)
            create_idle(decision.slot, acquisition);
        else
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
}

KOMBU_POOL_INLINE void PoolMaintainer::run(Clock::time_point now) {
    PoolEngine::EngineRef reference;
    auto held = engine_.lock();
    reference.retain(engine_);
    MaintenancePlan plan;
    try {
        plan = engine_.maintenance_.plan(engine_.core_, now);
    } catch (const std::bad_alloc&) {
        held.unlock();
        engine_.close_evicted();  // what it has evicted before
        throw;
    }
    held.unlock();
    engine_.close_evicted();

    for (const LeaseSite& leak : plan.leaks) engine_.reporter_.leaked(leak);
    // The factory's functions may have forked.
    for (const SlotId slot : plan.keep_alive)
        if (engine_.is_of_this_process()) keep_alive(slot, now);
    for (std::size_t i = 0; i < plan.preload; ++i)
        if (!engine_.is_of_this_process() || !preload_one(now)) break;
}

KOMBU_POOL_INLINE void PoolMaintainer::keep_alive(SlotId slot, Clock::time_point now) {
    SlotCell& cell = engine_.table_.cell(slot);
    {
        const auto held = engine_.lock();
        // Callers come first: those that wait, and those that may not wait when this is the only free resource.
        const PoolCore& core = engine_.core_;
        if (core.waiting() != 0 || (core.is_full() && core.idle() < 2)) return;
        if (!engine_.core_.acquire_slot(slot)) return;
        engine_.maintenance_.on_kept_alive(slot, now);
    }
    cell.acquired_from.store({}, std::memory_order_relaxed);
    if (engine_.hooks_->keep_alive(engine_.resource_of(cell), Deadline::after(maintenance_budget)))
        engine_.release_slot(cell);
    else
        engine_.close_and_free(cell, CloseReason::dead);
}

KOMBU_POOL_INLINE void PoolMaintainer::create_idle(SlotId slot, const Acquisition& acquisition) {
    PoolEngine::EngineRef reference;
    PoolEngine::SlotReservation reservation{engine_, slot};  // makes it available at the end
    engine_.create(reservation, acquisition, Clock::now(), reference);
}

KOMBU_POOL_INLINE bool PoolMaintainer::preload_one(Clock::time_point now) {
    Decision decision;
    {
        const auto held = engine_.lock();
        decision = engine_.core_.reserve_for_preload(true);
    }
    if (decision.outcome != AcquireOutcome::create) return false;
    try {
        create_idle(decision.slot, {Deadline::after(maintenance_budget), false, true, {}});
        const auto held = engine_.lock();
        engine_.maintenance_.preload_succeeded();
        return true;
    } catch (const std::exception& error) {
        if (!engine_.is_of_this_process()) throw;  // `create` has forked
        {
            const auto held = engine_.lock();
            engine_.maintenance_.preload_failed(now);
        }
        engine_.reporter_.preload_failed(error);
    } catch (...) {
        if (!engine_.is_of_this_process()) throw;
        const auto held = engine_.lock();
        engine_.maintenance_.preload_failed(now);
    }
    return false;
}

}  // namespace kombu::detail
