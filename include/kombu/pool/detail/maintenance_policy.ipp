// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/maintenance_policy.hpp>

#include <algorithm>
#include <chrono>

namespace kombu::detail {

KOMBU_POOL_INLINE MaintenancePolicy::MaintenancePolicy(const PoolOptions& options)
    : options_(options), random_state_(next_unique_id()) {}

KOMBU_POOL_INLINE bool MaintenancePolicy::is_needed() const noexcept {
    return options_.preload != 0 || options_.idle_timeout.has_value() || options_.max_lifetime.has_value() ||
           options_.keepalive.has_value() || options_.leak_threshold.has_value();
}

KOMBU_POOL_INLINE Clock::duration MaintenancePolicy::period() const {
    using namespace std::chrono_literals;
    Clock::duration period = options_.preload != 0 ? 100ms : 1s;
    for (const OptionalTimeout& time :
         {options_.idle_timeout, options_.max_lifetime, options_.keepalive, options_.leak_threshold})
        if (time.has_value()) period = std::min<Clock::duration>(period, time.value() / 4);
    return std::max<Clock::duration>(period, 10ms);
}

KOMBU_POOL_INLINE void MaintenancePolicy::reserve_records(const PoolCore& core) {
    if (records_.size() < core.slots()) records_.resize(core.slots());
}

/// From 0 to 1, by SplitMix64: <random> is a heavy header for one number.
KOMBU_POOL_INLINE double MaintenancePolicy::random() noexcept {
    std::uint64_t bits = random_state_ += 0x9e3779b97f4a7c15;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    return static_cast<double>((bits ^ bits >> 31) >> 11) * 0x1p-53;
}

KOMBU_POOL_INLINE void MaintenancePolicy::on_created(SlotId slot, Clock::time_point now) noexcept {
    Record& record = records_[slot];
    record.created = record.kept_alive = now;
    if (!options_.max_lifetime.has_value()) return;
    const auto lifetime = static_cast<double>(options_.max_lifetime.value().count()) * (0.75 + random() / 4);
    record.expires = now + std::chrono::nanoseconds{static_cast<std::int64_t>(lifetime)};
}

KOMBU_POOL_INLINE void MaintenancePolicy::observe(const PoolCore& core, Clock::time_point now) {
    reserve_records(core);
    for (SlotId slot = 0; slot < core.slots(); ++slot) {
        if (!is_leased(core, slot)) continue;
        const auto uses = core.table().cell(slot).uses.load(std::memory_order_relaxed);
        if (records_[slot].seen_uses == uses) continue;
        records_[slot].seen_uses = uses;
        records_[slot].first_seen = now;
    }
}

KOMBU_POOL_INLINE std::optional<LeaseSite> MaintenancePolicy::oldest_lease(const PoolCore& core,
                                                                           Clock::time_point now) {
    observe(core, now);
    std::optional<LeaseSite> oldest;
    for (SlotId slot = 0; slot < core.slots(); ++slot) {
        if (!is_leased(core, slot)) continue;
        LeaseSite lease = lease_site(core, slot, now);
        if (lease.line == 0) continue;  // maintenance holds the slot
        if (!oldest || lease.age > oldest->age) oldest = std::move(lease);
    }
    return oldest;
}

KOMBU_POOL_INLINE MaintenancePlan MaintenancePolicy::plan(PoolCore& core, Clock::time_point now) {
    MaintenancePlan plan;
    if (core.closed()) return plan;
    observe(core, now);
    for (SlotId slot = 0; slot < core.slots(); ++slot) {
        expire_old(core, slot, now);
        report_leak(core, slot, now, plan);
    }
    std::vector<std::pair<Clock::time_point, SlotId>> idle;
    for (SlotId slot = 0; slot < core.slots(); ++slot)
        if (core.state(slot) == PoolCore::SlotState::live && SlotTable::is_idle(core.table().cell(slot)))
            idle.emplace_back(idle_since(core, slot), slot);
    std::sort(idle.begin(), idle.end());
    std::size_t surplus = idle.size() - std::min(idle.size(), options_.preload);
    for (const auto& [since, slot] : idle) {
        if (surplus != 0 && options_.idle_timeout.has_value() &&
            now - since >= options_.idle_timeout.value() + coarse_clock_lag &&
            core.expire(slot, CloseReason::idle_timeout)) {
            --surplus;
        } else if (options_.keepalive.has_value() &&
                   now - std::max(since, records_[slot].kept_alive) >= options_.keepalive.value()) {
            plan.keep_alive.push_back(slot);
        }
    }
    if (now >= preload_retry_at_) {
        const std::size_t ready = core.idle() + core.creating();
        plan.preload = options_.preload - std::min(options_.preload, ready);
    }
    return plan;
}

KOMBU_POOL_INLINE void MaintenancePolicy::preload_failed(Clock::time_point now) noexcept {
    using namespace std::chrono_literals;
    preload_backoff_ = std::clamp<Clock::duration>(preload_backoff_ * 2, 100ms, 5s);
    preload_retry_at_ = now + preload_backoff_;
}

KOMBU_POOL_INLINE bool MaintenancePolicy::is_leased(const PoolCore& core, SlotId slot) {
    const auto state = core.state(slot);
    return (state == PoolCore::SlotState::live || state == PoolCore::SlotState::orphaned) &&
           !SlotTable::is_idle(core.table().cell(slot));
}

KOMBU_POOL_INLINE Clock::time_point MaintenancePolicy::idle_since(const PoolCore& core, SlotId slot) const {
    const std::chrono::nanoseconds released{core.table().cell(slot).released_at.load(std::memory_order_relaxed)};
    return std::max(records_[slot].created, Clock::time_point{released});
}

KOMBU_POOL_INLINE LeaseSite MaintenancePolicy::lease_site(const SlotCell& cell, Clock::time_point first_seen,
                                                          Clock::time_point now) {
    const std::chrono::nanoseconds since{cell.acquired_at.load(std::memory_order_relaxed)};
    const auto from = cell.acquired_from.load(std::memory_order_relaxed);
    LeaseSite lease;
    lease.age_is_exact = since.count() != 0;
    lease.age = std::max<Clock::duration>(now - (lease.age_is_exact ? Clock::time_point{since} : first_seen),
                                          Clock::duration::zero());
    lease.file = from.file_name();
    lease.line = from.line();
    return lease;
}

KOMBU_POOL_INLINE void MaintenancePolicy::expire_old(PoolCore& core, SlotId slot, Clock::time_point now) noexcept {
    if (now < records_[slot].expires || core.state(slot) != PoolCore::SlotState::live) return;
    core.expire(slot, CloseReason::max_lifetime);
}

KOMBU_POOL_INLINE void MaintenancePolicy::report_leak(PoolCore& core, SlotId slot, Clock::time_point now,
                                                      MaintenancePlan& plan) {
    if (!options_.leak_threshold.has_value() || !is_leased(core, slot)) return;
    Record& record = records_[slot];
    if (record.reported_uses == record.seen_uses) return;
    LeaseSite lease = lease_site(core, slot, now);
    if (lease.line == 0 || lease.age < options_.leak_threshold.value() + coarse_clock_lag) return;
    record.reported_uses = record.seen_uses;
    plan.leaks.push_back(std::move(lease));
    core.table().cell(slot).leaked_use.store(record.seen_uses, std::memory_order_relaxed);
}

}  // namespace kombu::detail
