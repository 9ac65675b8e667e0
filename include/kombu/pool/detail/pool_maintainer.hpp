// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/pool_engine.hpp>

#include <cstddef>
#include <source_location>

namespace kombu::detail {

/// Creates, keeps alive and closes resources for a pool that no caller waits for.
class PoolMaintainer {
public:
    explicit PoolMaintainer(PoolEngine& engine) noexcept : engine_(engine) {}

    void warm_up(std::size_t count, Deadline deadline, const std::source_location& site);
    /// One pass of maintenance, as MaintenancePolicy plans it.
    void run(Clock::time_point now);

private:
    /// Creates the resource of a reserved slot, and makes it available.
    void create_idle(SlotId slot, const Acquisition& acquisition);
    void keep_alive(SlotId slot, Clock::time_point now);
    /// False when there is no capacity, or the create failed.
    bool preload_one(Clock::time_point now);

    PoolEngine& engine_;
};

}  // namespace kombu::detail
