#pragma once

#include "support/catch.hpp"
#include "support/manual_clock.hpp"

#include <kombu/pool/detail/implementation.hpp>
#include <kombu/pool/detail/pool_core.hpp>

#include <cstddef>

/// What the front does around a PoolCore, step by step and without threads.
namespace driver {

using kombu::detail::AcquireOutcome;
using kombu::detail::Decision;
using kombu::detail::PoolCore;
using kombu::detail::SlotId;

struct TestWaiter : kombu::detail::Waiter {
    using Waiter::Waiter;
    void wake() noexcept override { ++woken; }
    int woken = 0;
};

inline SlotId take(PoolCore& core, const ManualClock& clock) {
    const Decision decision = core.acquire(clock.now());
    if (decision.outcome == AcquireOutcome::create)
        REQUIRE(core.created(decision.slot, clock.now()) == PoolCore::CreateOutcome::leased);
    REQUIRE((decision.outcome == AcquireOutcome::use || decision.outcome == AcquireOutcome::create));
    return decision.slot;
}

/// A lease ends with its resource in good order: by the fast path, and by the core when that was not all.
inline PoolCore::ReleaseAction release(PoolCore& core, SlotId slot, const ManualClock& clock) {
    return core.table().release(core.table().cell(slot)) ? PoolCore::ReleaseAction::keep
                                                         : core.released(slot, clock.now());
}

inline std::size_t leased(const PoolCore& core) { return core.live() - core.idle(); }

}  // namespace driver
