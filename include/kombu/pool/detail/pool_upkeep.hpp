// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/maintenance.hpp>
#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_core.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace kombu::detail {

/// What one pass of maintenance has to do. The slots of `close` are `closing`; those of `keep_alive` are idle, or were.
struct UpkeepPlan {
    std::vector<std::pair<SlotId, CloseReason>> close{};
    std::vector<SlotId> keep_alive{};
    std::vector<LeaseSite> leaks{};
    std::size_t preload = 0;
};

/// Decides what a pool needs beyond lending: what is too old, idle too long, leased too long, too few. Pure as PoolCore
/// is, and under the same lock.
class PoolUpkeep {
public:
    explicit PoolUpkeep(const PoolOptions& options)
        : options_(options), random_(static_cast<std::minstd_rand::result_type>(next_number())) {}

    bool is_needed() const noexcept {
        return options_.preload != 0 || options_.idle_timeout.has_value() || options_.max_lifetime.has_value() ||
               options_.keepalive.has_value() || options_.leak_threshold.has_value();
    }

    /// How often plan() should be asked for.
    Clock::duration period() const {
        using namespace std::chrono_literals;
        Clock::duration period = options_.preload != 0 ? 100ms : 1s;
        for (const OptionalTimeout& time :
             {options_.idle_timeout, options_.max_lifetime, options_.keepalive, options_.leak_threshold})
            if (time.has_value()) period = std::min<Clock::duration>(period, time.value() / 4);
        return std::max<Clock::duration>(period, 10ms);
    }

    /// So that born() allocates nothing.
    void make_room(const PoolCore& core) {
        if (slots_.size() < core.slots()) slots_.resize(core.slots());
    }

    /// The slot has a new resource.
    void born(SlotId slot, Clock::time_point now) noexcept {
        Record& record = slots_[slot];
        record.born = record.looked_after = now;
        if (!options_.max_lifetime.has_value()) return;
        std::uniform_real_distribution<double> jitter{0.75, 1.0};
        const auto life = static_cast<double>(options_.max_lifetime.value().count()) * jitter(random_);
        record.expires = now + std::chrono::nanoseconds{static_cast<std::int64_t>(life)};
    }

    /// Remembers which leases are going on, so that their age is known at least from now on.
    void observe(const PoolCore& core, Clock::time_point now) {
        make_room(core);
        for (SlotId slot = 0; slot < core.slots(); ++slot) {
            if (!is_leased(core, slot)) continue;
            const auto uses = core.table().cell(slot).uses.load(std::memory_order_relaxed);
            if (slots_[slot].seen_uses == uses) continue;
            slots_[slot].seen_uses = uses;
            slots_[slot].seen_leased = now;
        }
    }

    std::optional<LeaseSite> oldest_lease(const PoolCore& core, Clock::time_point now) {
        observe(core, now);
        std::optional<LeaseSite> oldest;
        for (SlotId slot = 0; slot < core.slots(); ++slot) {
            if (!is_leased(core, slot)) continue;
            LeaseSite lease = site(core, slot, now);
            if (lease.line == 0) continue;  // not a lease: it is being looked after
            if (!oldest || lease.age > oldest->age) oldest = std::move(lease);
        }
        return oldest;
    }

    UpkeepPlan plan(PoolCore& core, Clock::time_point now) {
        UpkeepPlan plan;
        if (core.closed()) return plan;
        observe(core, now);
        plan.close.reserve(core.slots());  // what is taken out of the pool below must not be lost for lack of memory
        for (SlotId slot = 0; slot < core.slots(); ++slot) {
            retire_old(core, slot, now, plan);
            report_leak(core, slot, now, plan);
        }
        std::vector<std::pair<Clock::time_point, SlotId>> idle;
        for (SlotId slot = 0; slot < core.slots(); ++slot)
            if (core.state(slot) == PoolCore::SlotState::live && SlotTable::is_idle(core.table().cell(slot)))
                idle.emplace_back(idle_since(core, slot), slot);
        std::sort(idle.begin(), idle.end());
        std::size_t spare = idle.size() - std::min(idle.size(), options_.preload);
        for (const auto& [since, slot] : idle) {
            if (spare != 0 && options_.idle_timeout.has_value() &&
                now - since >= options_.idle_timeout.value() + coarse_lag && core.retire(slot)) {
                --spare;
                plan.close.emplace_back(slot, CloseReason::idle_timeout);
            } else if (options_.keepalive.has_value() &&
                       now - std::max(since, slots_[slot].looked_after) >= options_.keepalive.value()) {
                plan.keep_alive.push_back(slot);
            }
        }
        if (now >= preload_again_) {
            const std::size_t ready = core.idle() + core.creating();
            plan.preload = options_.preload - std::min(options_.preload, ready);
        }
        return plan;
    }

    void looked_after(SlotId slot, Clock::time_point now) noexcept { slots_[slot].looked_after = now; }
    void preload_worked() noexcept { preload_pause_ = Clock::duration::zero(); }
    void preload_failed(Clock::time_point now) noexcept {
        using namespace std::chrono_literals;
        preload_pause_ = std::clamp<Clock::duration>(preload_pause_ * 2, 100ms, 5s);
        preload_again_ = now + preload_pause_;
    }

private:
    /// How far the coarse clock may be behind, at the slowest tick in use; never early is better than on time.
    static constexpr std::chrono::milliseconds coarse_lag{10};

    struct Record {
        Clock::time_point born{};
        Clock::time_point expires = Clock::time_point::max();
        Clock::time_point looked_after{};
        Clock::time_point seen_leased{};
        std::uint64_t seen_uses = ~std::uint64_t{0};
        std::uint64_t reported_uses = ~std::uint64_t{0};
    };

    static Clock::time_point at(std::int64_t nanoseconds) noexcept {
        return Clock::time_point{std::chrono::nanoseconds{nanoseconds}};
    }
    static bool is_leased(const PoolCore& core, SlotId slot) {
        const auto state = core.state(slot);
        return (state == PoolCore::SlotState::live || state == PoolCore::SlotState::orphaned) &&
               !SlotTable::is_idle(core.table().cell(slot));
    }
    Clock::time_point idle_since(const PoolCore& core, SlotId slot) const {
        return std::max(slots_[slot].born, at(core.table().cell(slot).returned_at.load(std::memory_order_relaxed)));
    }

    LeaseSite site(const PoolCore& core, SlotId slot, Clock::time_point now) const {
        const SlotCell& cell = core.table().cell(slot);
        const std::int64_t since = cell.taken_at.load(std::memory_order_relaxed);
        const auto taker = cell.taker.load(std::memory_order_relaxed);
        LeaseSite lease;
        lease.age_is_exact = since != 0;
        lease.age = std::max<Clock::duration>(now - (since != 0 ? at(since) : slots_[slot].seen_leased),
                                              Clock::duration::zero());
        lease.file = taker.file_name();
        lease.line = taker.line();
        return lease;
    }

    void retire_old(PoolCore& core, SlotId slot, Clock::time_point now, UpkeepPlan& plan) {
        if (now < slots_[slot].expires || core.state(slot) != PoolCore::SlotState::live) return;
        if (core.retire(slot)) plan.close.emplace_back(slot, CloseReason::max_lifetime);
    }

    void report_leak(const PoolCore& core, SlotId slot, Clock::time_point now, UpkeepPlan& plan) {
        if (!options_.leak_threshold.has_value() || !is_leased(core, slot)) return;
        Record& record = slots_[slot];
        if (record.reported_uses == record.seen_uses) return;
        LeaseSite lease = site(core, slot, now);
        if (lease.line == 0 || lease.age < options_.leak_threshold.value() + coarse_lag) return;
        record.reported_uses = record.seen_uses;
        plan.leaks.push_back(std::move(lease));
    }

    const PoolOptions& options_;
    std::minstd_rand random_;
    std::vector<Record> slots_;
    Clock::duration preload_pause_{0};
    Clock::time_point preload_again_{};
};

}  // namespace kombu::detail
