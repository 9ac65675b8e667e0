// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_core.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace kombu::detail {

/// The work of one pass of maintenance, beside the slots that were evicted. Those of `keep_alive` were idle.
struct MaintenancePlan {
    std::vector<SlotId> keep_alive{};
    std::vector<LeaseSite> leaks{};
    std::size_t preload = 0;
};

/// Decides what is too old, idle for too long, leased for too long, or missing. Pure, as PoolCore is, and used under
/// the same lock.
class KOMBU_EXPORT MaintenancePolicy {
public:
    explicit MaintenancePolicy(const PoolOptions& options);

    bool is_needed() const noexcept;

    /// The time between two calls of plan().
    Clock::duration period() const;

    /// Allocates what on_created() needs.
    void reserve_records(const PoolCore& core);

    /// The slot has a new resource.
    void on_created(SlotId slot, Clock::time_point now) noexcept;

    /// Records which slots are leased, so that the ages of these leases are known from now on.
    void observe(const PoolCore& core, Clock::time_point now);

    /// The lease of this slot. `first_seen`: stands for its beginning when that was not measured.
    static LeaseSite lease_site(const SlotCell& cell, Clock::time_point first_seen, Clock::time_point now);

    std::optional<LeaseSite> oldest_lease(const PoolCore& core, Clock::time_point now);

    MaintenancePlan plan(PoolCore& core, Clock::time_point now);

    void on_kept_alive(SlotId slot, Clock::time_point now) noexcept { records_[slot].kept_alive = now; }
    void preload_succeeded() noexcept { preload_backoff_ = Clock::duration::zero(); }
    void preload_failed(Clock::time_point now) noexcept;

private:
    struct Record {
        Clock::time_point created{};
        Clock::time_point expires = Clock::time_point::max();
        Clock::time_point kept_alive{};
        Clock::time_point first_seen{};  ///< of the lease number `seen_uses`
        std::uint64_t seen_uses = ~std::uint64_t{0};
        std::uint64_t reported_uses = ~std::uint64_t{0};
    };

    static bool is_leased(const PoolCore& core, SlotId slot);
    Clock::time_point idle_since(const PoolCore& core, SlotId slot) const;
    LeaseSite lease_site(const PoolCore& core, SlotId slot, Clock::time_point now) const {
        return lease_site(core.table().cell(slot), records_[slot].first_seen, now);
    }
    void expire_old(PoolCore& core, SlotId slot, Clock::time_point now) noexcept;
    void report_leak(PoolCore& core, SlotId slot, Clock::time_point now, MaintenancePlan& plan);
    double random() noexcept;

    const PoolOptions& options_;
    std::uint64_t random_state_;
    std::vector<Record> records_;
    Clock::duration preload_backoff_{0};
    Clock::time_point preload_retry_at_{};
};

}  // namespace kombu::detail
