// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/catch.hpp"
#include "support/manual_clock.hpp"

#include <kombu/pool/detail/implementation.hpp>
#include <kombu/pool/detail/pool_core.hpp>

#include <cstddef>
#include <vector>

/// Drives a PoolCore as the pool's engine does, step by step and without threads.
namespace core_test {

using kombu::detail::AcquireOutcome;
using kombu::detail::Decision;
using kombu::detail::PoolCore;
using kombu::detail::SlotId;

struct TestWaiter : kombu::detail::Waiter {
    using Waiter::Waiter;
    void wake() noexcept override { ++wake_count; }
    int wake_count = 0;
};

inline SlotId lease_slot(PoolCore& core, const ManualClock& clock) {
    const Decision decision = core.acquire(clock.now());
    if (decision.outcome == AcquireOutcome::create)
        REQUIRE(core.created(decision.slot, clock.now()) == PoolCore::CreateOutcome::leased);
    REQUIRE((decision.outcome == AcquireOutcome::use || decision.outcome == AcquireOutcome::create));
    return decision.slot;
}

/// Releases a slot: on the fast path, and by PoolCore::released() when the listener must be notified.
inline PoolCore::ReleaseAction release(PoolCore& core, SlotId slot, const ManualClock& clock) {
    return core.table().release(core.table().cell(slot)) ? PoolCore::ReleaseAction::keep
                                                         : core.released(slot, clock.now());
}

/// The slots with this eviction, in their order; it counts as begun.
inline std::vector<SlotId> evicted(PoolCore& core, PoolCore::Eviction eviction) {
    std::vector<SlotId> slots;
    for (SlotId slot = 0; slot < core.slots(); ++slot)
        if (core.eviction(slot) == eviction) {
            core.begin_eviction(slot);
            slots.push_back(slot);
        }
    return slots;
}

inline std::size_t leased_count(const PoolCore& core) { return core.live() - core.idle(); }

}  // namespace core_test
