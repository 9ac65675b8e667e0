// SPDX-License-Identifier: BSD-3-Clause
// Decisions about waiting, overtaking and connecting, without threads.
#include "support/core_test.hpp"

using namespace std::chrono_literals;
using namespace core_test;

TEST_CASE("a newcomer may overtake a notified waiter within the barging window, which waits on", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    release(core, slot, clock);
    CHECK(waiter.wake_count == 1);
    CHECK(waiter.notified());
    CHECK(core.idle() == 1);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::use);
    core.retry(waiter, clock.now());
    CHECK(waiter.decision.outcome == AcquireOutcome::none);
    CHECK_FALSE(waiter.notified());
    CHECK(core.waiting() == 1);
}

TEST_CASE("a notified waiter that finds its slot idle leases it", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    release(core, slot, clock);
    core.retry(waiter, clock.now());
    CHECK(waiter.decision.outcome == AcquireOutcome::use);
    CHECK(core.waiting() == 0);
}

TEST_CASE("a waiter whose barging window has passed is handed the next slot", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    clock.advance(1ms);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
    release(core, slot, clock);
    CHECK(waiter.decision.outcome == AcquireOutcome::use);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
}

TEST_CASE("a caller that may not wait is not refused because others wait to connect", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 3, .max_connecting = 1, .barging_window = 1ms}, nullptr};
    CHECK(core.acquire(clock.now(), true).outcome == AcquireOutcome::create);
    CHECK(core.acquire(clock.now(), true).outcome == AcquireOutcome::full);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    clock.advance(2ms);
    CHECK(core.acquire(clock.now(), true).outcome == AcquireOutcome::full);
    CHECK(core.acquire(clock.now(), false).outcome == AcquireOutcome::create);
}

TEST_CASE("a notified waiter notifies the next one when it acquires or gives up", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 2, .barging_window = 1ms}, nullptr};
    const SlotId a = lease_slot(core, clock), b = lease_slot(core, clock);
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)};
    core.enqueue(one);
    core.enqueue(two);
    release(core, a, clock);
    release(core, b, clock);
    CHECK(two.wake_count == 0);  // one waiter at a time is notified
    SECTION("it acquires") {
        core.retry(one, clock.now());
        CHECK(one.decision.outcome == AcquireOutcome::use);
    }
    SECTION("it gives up") { CHECK(core.cancel(one, clock.now())); }
    CHECK(two.notified());
    core.retry(two, clock.now());
    CHECK(two.decision.outcome == AcquireOutcome::use);
}

TEST_CASE("a slot that becomes free between acquire and enqueue is granted at once", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
    release(core, slot, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    CHECK(core.enqueue(waiter).outcome == AcquireOutcome::use);
    CHECK(core.waiting() == 0);
}

TEST_CASE("an operation that waits is handed what is free, and newcomers do not overtake it", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 2, .barging_window = 1ms}, nullptr};
    const SlotId a = lease_slot(core, clock), b = lease_slot(core, clock);
    TestWaiter operation{clock.now(), clock.in(1s), false}, thread{clock.now(), clock.in(1s)};
    core.enqueue(operation);
    core.enqueue(thread);
    release(core, a, clock);
    CHECK(operation.decision.outcome == AcquireOutcome::use);  // its event loop may be busy: it is not asked
    release(core, b, clock);
    CHECK(thread.notified());
}

TEST_CASE("a newcomer behind a waiter that was notified in vain has it served by name", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 2, .barging_window = 1ms}, nullptr};
    const SlotId a = lease_slot(core, clock), b = lease_slot(core, clock);
    TestWaiter late{clock.now(), clock.in(1s)};
    core.enqueue(late);
    for (const SlotId slot : {a, b}) release(core, slot, clock);
    REQUIRE(late.notified());
    clock.advance(1ms);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::use);
    CHECK(late.decision.outcome == AcquireOutcome::use);
}

TEST_CASE("a waiter that has timed out, and has not run since, is told by the next acquire", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    lease_slot(core, clock);
    TestWaiter operation{clock.now(), clock.in(5ms), false};
    core.enqueue(operation);
    clock.advance(5ms);
    CHECK(core.acquire(clock.now(), true).outcome == AcquireOutcome::full);
    CHECK(operation.decision.outcome == AcquireOutcome::timed_out);
    CHECK(core.waiting() == 0);
}
