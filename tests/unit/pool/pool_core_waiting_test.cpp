// Who waits, who is quicker, and who connects: the decisions about them, without threads.
#include "support/core_driver.hpp"

using namespace std::chrono_literals;
using namespace driver;

TEST_CASE("a newcomer may be quicker than a waiter that is young, which is poked and waits on", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    const SlotId slot = take(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    release(core, slot, clock);
    CHECK(waiter.woken == 1);
    CHECK(waiter.notified());
    CHECK(core.idle() == 1);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::use);
    core.retry(waiter, clock.now());
    CHECK(waiter.decision.outcome == AcquireOutcome::none);
    CHECK_FALSE(waiter.notified());
    CHECK(core.waiting() == 1);
}

TEST_CASE("a poked waiter that finds its slot has it", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    const SlotId slot = take(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    release(core, slot, clock);
    core.retry(waiter, clock.now());
    CHECK(waiter.decision.outcome == AcquireOutcome::use);
    CHECK(core.waiting() == 0);
}

TEST_CASE("who has waited for longer than the patience is given the next slot by name", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1, .barging_window = 1ms}, nullptr};
    const SlotId slot = take(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    clock.advance(1ms);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
    release(core, slot, clock);
    CHECK(waiter.decision.outcome == AcquireOutcome::use);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
}

TEST_CASE("who may not wait is not refused because others wait for a turn to connect", "[pool][core]") {
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

TEST_CASE("a poked waiter passes on what it does not need, also by giving up", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 2, .barging_window = 1ms}, nullptr};
    const SlotId a = take(core, clock), b = take(core, clock);
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)};
    core.enqueue(one);
    core.enqueue(two);
    release(core, a, clock);
    release(core, b, clock);
    CHECK(two.woken == 0);  // one at a time
    SECTION("it takes one") {
        core.retry(one, clock.now());
        CHECK(one.decision.outcome == AcquireOutcome::use);
    }
    SECTION("it gives up") { CHECK(core.cancel(one, clock.now())); }
    CHECK(two.notified());
    core.retry(two, clock.now());
    CHECK(two.decision.outcome == AcquireOutcome::use);
}

TEST_CASE("what comes free between being refused and queueing is granted at once", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = take(core, clock);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
    release(core, slot, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    CHECK(core.enqueue(waiter).outcome == AcquireOutcome::use);
    CHECK(core.waiting() == 0);
}
