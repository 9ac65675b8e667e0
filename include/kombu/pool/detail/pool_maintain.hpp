// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What PoolState does ahead of its users: warming up, and passes of maintenance.
#include <kombu/pool/detail/pool_state.hpp>

#include <chrono>
#include <thread>

namespace kombu::detail {

template <class T>
void PoolState<T>::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    const Acquisition acquisition{deadline, false, true, site};
    for (;;) {
        Decision decision;
        {
            std::lock_guard lock{table_.mutex()};
            if (core_.closed()) throw PoolClosed(display_name() + ": warm_up on a closed pool");
            if (core_.live() >= count) return;
            if (core_.used() < count) decision = core_.reserve_spare(false);
            // No room: at the limit, or others are making them.
            if (decision.grant != Grant::create && core_.creating() == 0) return;
        }
        if (deadline.expired()) {
            if (decision.grant == Grant::create) put_back(decision.slot);
            throw Timeout(display_name() + ": warm_up did not make " + std::to_string(count) + " in time", false);
        }
        if (decision.grant == Grant::create)
            make_spare(decision.slot, acquisition);
        else
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
}

template <class T>
void PoolState<T>::maintain(Clock::time_point now) {
    Visit visit;
    Removed removed;
    std::unique_lock lock{table_.mutex()};
    visit.begin(*this);
    removed.close.reserve(core_.slots());
    const UpkeepPlan plan = upkeep_.plan(core_, now);
    for (const auto& [slot, why] : plan.close) removed.close.emplace_back(std::move(resources_[slot]), why);
    lock.unlock();

    for (const LeaseSite& leak : plan.leaks) report_leak(leak);
    finish(removed);
    lock.lock();
    for (const auto& [slot, why] : plan.close) core_.closed(slot, now_if_waiting());
    lock.unlock();
    // One at a time, and none while somebody waits: the pool is there for its users.
    for (const SlotId slot : plan.keep_alive) {
        SlotCell& cell = table_.cell(slot);
        lock.lock();
        const bool taken = core_.waiting() == 0 && core_.take(slot);
        if (taken) upkeep_.looked_after(slot, now);
        lock.unlock();
        if (!taken) continue;
        cell.taker.store({}, std::memory_order_relaxed);
        if (factory_.kept_alive(*static_cast<T*>(cell.resource.load(std::memory_order_relaxed)),
                                Deadline::after(upkeep_budget)))
            give(cell);
        else
            throw_away(cell, CloseReason::dead);
    }
    for (std::size_t i = 0; i < plan.preload; ++i)
        if (!preload_one(now)) break;
}

template <class T>
void PoolState<T>::make_spare(SlotId slot, const Acquisition& acquisition) {
    Visit visit;
    Holding holding{*this, slot};  // puts it on offer at the end
    create(holding, acquisition, visit);
}

template <class T>
bool PoolState<T>::preload_one(Clock::time_point now) {
    Decision decision;
    {
        std::lock_guard lock{table_.mutex()};
        decision = core_.reserve_spare(true);
    }
    if (decision.grant != Grant::create) return false;
    try {
        make_spare(decision.slot, {Deadline::after(upkeep_budget), false, true, {}});
        std::lock_guard lock{table_.mutex()};
        upkeep_.preload_worked();
        return true;
    } catch (const std::exception& error) {
        {
            std::lock_guard lock{table_.mutex()};
            upkeep_.preload_failed(now);
        }
        if (is_logging()) log(LogLevel::warning, display_name() + ": preload failed: " + error.what());
    } catch (...) {
        std::lock_guard lock{table_.mutex()};
        upkeep_.preload_failed(now);
    }
    return false;
}

template <class T>
void PoolState<T>::report_leak(const LeaseSite& lease) {
    counters_.leaked();
    if (is_logging()) log(LogLevel::warning, display_name() + ": a lease has lasted " + lease.describe());
    observe([&](PoolObserver& observer) { observer.leaked({options_.name, lease}); });
}

}  // namespace kombu::detail
