// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What PoolState does ahead of its users: warming up, and passes of maintenance.
#include <kombu/pool/detail/pool_state.hpp>

namespace kombu::detail {

template <class T>
void PoolState<T>::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    const Acquisition acquisition{deadline, false, true, site};
    for (;;) {
        Decision decision;
        {
            std::lock_guard lock{table_.mutex()};
            if (core_.closed()) throw PoolClosed(display_name() + ": warm_up on a closed pool");
            if (core_.used() >= count) return;
            decision = core_.reserve_spare(false);
        }
        if (decision.grant != Grant::create) return;
        if (deadline.expired()) {
            put_back(decision.slot);
            throw Timeout(display_name() + ": warm_up did not make " + std::to_string(count) + " in time", false);
        }
        make_spare(decision.slot, acquisition);
    }
}

template <class T>
void PoolState<T>::maintain(Clock::time_point now) {
    std::unique_lock lock{table_.mutex()};
    ++users_;
    const UpkeepPlan plan = upkeep_.plan(core_, now);
    Removed removed;
    for (const auto& [slot, why] : plan.close) removed.close.emplace_back(std::move(resources_[slot]), why);
    std::vector<std::shared_ptr<T>> alive;
    for (const SlotId slot : plan.keep_alive) alive.push_back(resources_[slot]);
    lock.unlock();

    for (const LeaseSite& leak : plan.leaks) report_leak(leak);
    finish(removed);
    lock.lock();
    for (const auto& [slot, why] : plan.close) core_.closed(slot, now_if_waiting());
    lock.unlock();
    for (std::size_t i = 0; i < alive.size(); ++i) {
        SlotCell& cell = table_.cell(plan.keep_alive[i]);
        if (factory_.kept_alive(*alive[i], Deadline::after(upkeep_budget)))
            give(cell);
        else
            throw_away(cell, CloseReason::dead);
    }
    alive.clear();
    for (std::size_t i = 0; i < plan.preload; ++i)
        if (!preload_one(now)) break;
    leave(std::unique_lock{table_.mutex()});
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
            last_error_ = error.what();
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
