// SPDX-License-Identifier: BSD-3-Clause
#include "support/core_test.hpp"

#include <deque>
#include <random>
#include <set>

using namespace std::chrono_literals;
using namespace core_test;

TEST_CASE("an empty pool reserves a slot before anything is created", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const Decision first = core.acquire(clock.now());
    CHECK(first.outcome == AcquireOutcome::create);
    CHECK(core.creating() == 1);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
}

TEST_CASE("a failed create hands its capacity to the first waiter", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const Decision first = core.acquire(clock.now());
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)};
    core.enqueue(one);
    core.enqueue(two);
    core.create_failed(first.slot, clock.now());
    CHECK(one.wake_count == 1);
    CHECK(one.decision.outcome == AcquireOutcome::create);
    CHECK(two.wake_count == 0);
    CHECK(core.creating() == 1);
}

TEST_CASE("a released resource goes to the first waiter and never becomes idle", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)};
    core.enqueue(one);
    core.enqueue(two);
    CHECK(release(core, slot, clock) == PoolCore::ReleaseAction::keep);
    CHECK(one.decision.outcome == AcquireOutcome::use);
    CHECK(one.decision.slot == slot);
    CHECK(two.wake_count == 0);
    CHECK(core.idle() == 0);
    CHECK(leased_count(core) == 1);
}

TEST_CASE("a waiter whose deadline has passed gets a timeout and the next one is served", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter late{clock.now(), clock.in(10ms)}, patient{clock.now(), clock.in(1s)};
    core.enqueue(late);
    core.enqueue(patient);
    clock.advance(10ms);
    release(core, slot, clock);
    CHECK(late.decision.outcome == AcquireOutcome::timed_out);
    CHECK(patient.decision.outcome == AcquireOutcome::use);
    CHECK(core.waiting() == 0);
}

TEST_CASE("a waiter that times out exactly as its slot arrives keeps the slot", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter waiter{clock.now(), clock.in(10ms)};
    core.enqueue(waiter);
    release(core, slot, clock);
    CHECK_FALSE(core.cancel(waiter, clock.now()));
    CHECK(waiter.decision.outcome == AcquireOutcome::use);
    CHECK(leased_count(core) == 1);
}

TEST_CASE("a waiter that gives up in the middle of the queue leaves the others in order", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)}, three{clock.now(), clock.in(1s)};
    for (TestWaiter* waiter : {&one, &two, &three}) core.enqueue(*waiter);
    CHECK(core.cancel(two, clock.now()));
    release(core, slot, clock);
    release(core, slot, clock);
    CHECK(one.decision.outcome == AcquireOutcome::use);
    CHECK(two.decision.outcome == AcquireOutcome::none);
    CHECK(three.decision.outcome == AcquireOutcome::use);
}

TEST_CASE("discard frees capacity for a waiter at once", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    core.discard(slot, clock.now());
    CHECK(waiter.decision.outcome == AcquireOutcome::create);
}

TEST_CASE("growing serves as many waiters as the new capacity allows", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    lease_slot(core, clock);
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)}, three{clock.now(), clock.in(1s)};
    for (TestWaiter* waiter : {&one, &two, &three}) core.enqueue(*waiter);
    core.set_limit(3, {}, clock.now());
    CHECK(one.decision.outcome == AcquireOutcome::create);
    CHECK(two.decision.outcome == AcquireOutcome::create);
    CHECK(three.decision.outcome == AcquireOutcome::none);
    CHECK(core.used() == 3);
}

TEST_CASE("shrinking closes the longest idle first", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 3}, nullptr};
    const SlotId a = lease_slot(core, clock), b = lease_slot(core, clock), c = lease_slot(core, clock);
    for (SlotId slot : {a, b, c}) release(core, slot, clock);
    core.prepare_resize();
    core.set_limit(1, {}, clock.now());
    CHECK(core_test::evicted(core, PoolCore::Eviction::close) == std::vector<SlotId>{a, b});
    CHECK(core.acquire(clock.now()).slot == c);
}

TEST_CASE("the limit lowered while creating counts what is being created", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 2}, nullptr};
    const Decision creating = core.acquire(clock.now());
    CHECK_FALSE(core.may_resize(1, {}));
    CHECK(core.may_resize(1, {.ignore_errors = true}));
    const SlotId other = lease_slot(core, clock);
    core.set_limit(1, {.ignore_errors = true}, clock.now());
    CHECK(core.created(creating.slot, clock.now()) == PoolCore::CreateOutcome::leased);
    CHECK(release(core, other, clock) == PoolCore::ReleaseAction::close);
    CHECK(core.used() == 2);  // until it is closed
    core.closed(other, clock.now());
    CHECK(release(core, creating.slot, clock) == PoolCore::ReleaseAction::keep);
}

TEST_CASE("a reset while creating makes the caller create the resource again in the same slot", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const Decision creating = core.acquire(clock.now());
    core.reset(clock.now());
    CHECK(core.creating() == 1);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
    CHECK(core.created(creating.slot, clock.now()) == PoolCore::CreateOutcome::stale);
    CHECK(core.created(creating.slot, clock.now()) == PoolCore::CreateOutcome::leased);
}

TEST_CASE("after a reset leased resources are not counted and are closed when released", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    core.reset(clock.now());
    CHECK(core_test::evicted(core, PoolCore::Eviction::interrupt) == std::vector<SlotId>{slot});
    CHECK(leased_count(core) == 0);
    const SlotId second = lease_slot(core, clock);
    CHECK(second != slot);
    CHECK(release(core, slot, clock) == PoolCore::ReleaseAction::close);
    CHECK(leased_count(core) == 1);
}

TEST_CASE("an evicted resource counts until it is closed", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    release(core, slot, clock);
    core.reset(clock.now());
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::full);
    core.begin_eviction(slot);
    core.closed(slot, clock.now());
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::create);
}

TEST_CASE("an orphaned slot that is released before its holder was interrupted is only closed", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    core.reset(clock.now());
    CHECK(release(core, slot, clock) == PoolCore::ReleaseAction::close);
    CHECK(core_test::evicted(core, PoolCore::Eviction::interrupt).empty());
    CHECK(core_test::evicted(core, PoolCore::Eviction::close).empty());
}

TEST_CASE("a waiter that was notified and does not retry stops nobody once its window has passed", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 3, .barging_window = 500us}, nullptr};
    const SlotId a = lease_slot(core, clock), b = lease_slot(core, clock), c = lease_slot(core, clock);
    TestWaiter busy{clock.now(), clock.in(1s)};  // its event loop runs something else
    core.enqueue(busy);
    for (SlotId slot : {a, b, c}) release(core, slot, clock);
    REQUIRE(busy.wake_count == 1);
    clock.advance(1ms);
    CHECK(core.acquire(clock.now(), false).outcome == AcquireOutcome::use);
    CHECK(busy.decision.outcome == AcquireOutcome::use);  // it has got its own by name
    CHECK(core.acquire(clock.now(), true).outcome == AcquireOutcome::use);
    CHECK(core.acquire(clock.now(), false).outcome == AcquireOutcome::full);
}

TEST_CASE("a resource that exists while its slot is given up counts until it is closed", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 2}, nullptr};
    const SlotId dead = lease_slot(core, clock);
    const SlotId creating = core.acquire(clock.now()).slot;
    core.close();
    CHECK(core.created(creating, clock.now()) == PoolCore::CreateOutcome::closed);
    CHECK_FALSE(core.recreate(dead));
    CHECK(core.closing() == 2);
    CHECK(core.outstanding() == 2);
    for (SlotId slot : {creating, dead}) core.closed(slot, clock.now());
    CHECK(core.outstanding() == 0);
}

TEST_CASE("resources that are being created when the limit shrinks by force are not made above it", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 3}, nullptr};
    SlotId creating[3];
    for (SlotId& slot : creating) slot = core.acquire(clock.now()).slot;
    core.prepare_resize();
    core.set_limit(1, {.force = true}, clock.now());
    for (int i = 0; i < 2; ++i) {
        REQUIRE(core.created(creating[i], clock.now()) == PoolCore::CreateOutcome::surplus);
        core.closed(creating[i], clock.now());
    }
    REQUIRE(core.created(creating[2], clock.now()) == PoolCore::CreateOutcome::stale);
    CHECK(core.created(creating[2], clock.now()) == PoolCore::CreateOutcome::leased);
    CHECK(core.used() == 1);
}

TEST_CASE("a reset serves the waiters", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    lease_slot(core, clock);
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    core.reset(clock.now());
    CHECK(waiter.decision.outcome == AcquireOutcome::create);
}

TEST_CASE("close wakes every waiter with an error", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    TestWaiter one{clock.now(), clock.in(1s)}, two{clock.now(), clock.in(1s)};
    core.enqueue(one);
    core.enqueue(two);
    core.close();
    CHECK(one.decision.outcome == AcquireOutcome::closed);
    CHECK(two.decision.outcome == AcquireOutcome::closed);
    CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::closed);
    CHECK(release(core, slot, clock) == PoolCore::ReleaseAction::close);
}
TEST_CASE("the fast path is disabled while a caller waits, and enabled again some time after", "[pool][core]") {
    ManualClock clock;
    PoolCore core{{.limit = 1}, nullptr};
    const SlotId slot = lease_slot(core, clock);
    CHECK_FALSE(core.table().needs_slow_path());
    TestWaiter waiter{clock.now(), clock.in(1s)};
    core.enqueue(waiter);
    CHECK(core.table().needs_slow_path());
    CHECK(core.table().try_acquire() == nullptr);
    release(core, slot, clock);
    for (int i = 0; i < 1000 && core.table().needs_slow_path(); ++i) {
        release(core, slot, clock);
        CHECK(core.acquire(clock.now()).outcome == AcquireOutcome::use);
    }
    CHECK_FALSE(core.table().needs_slow_path());
}

TEST_CASE("a release is ignored when the table belongs to another pool by then", "[pool][core]") {
    ManualClock clock;
    auto core = std::make_unique<PoolCore>(PoolCore::Policy{.limit = 1}, nullptr);
    auto& table = core->table();
    const SlotId slot = lease_slot(*core, clock);
    auto& cell = table.cell(slot);
    core->discard(slot, clock.now());
    core.reset();
    PoolCore other{{.limit = 1}, nullptr};
    REQUIRE(&other.table() == &table);  // tables are recycled
    table.notify_listener(slot);        // too late: nothing happens
    CHECK(other.acquire(clock.now()).outcome == AcquireOutcome::create);
    CHECK(&table.cell(slot) == &cell);
}

TEST_CASE("the invariants hold after each of 200,000 random steps", "[pool][core]") {
    ManualClock clock;
    std::mt19937 random{20120713};
    std::size_t limit = 4;
    const auto barging_window = GENERATE(0ms, 5ms);
    const std::size_t max_connecting = GENERATE(0U, 1U);
    PoolCore core{{.limit = limit, .max_connecting = max_connecting, .barging_window = barging_window}, nullptr};
    std::vector<SlotId> creating, leased, closing;
    std::deque<TestWaiter> waiters;
    std::vector<TestWaiter*> queued;
    std::size_t excess = 0;  // slots above the limit after a soft shrink

    const auto collect = [&] {
        std::erase_if(queued, [&](TestWaiter* waiter) {
            if (waiter->notified()) core.retry(*waiter, clock.now());
            if (waiter->decision.outcome == AcquireOutcome::none) return false;
            if (waiter->decision.outcome == AcquireOutcome::create) creating.push_back(waiter->decision.slot);
            if (waiter->decision.outcome == AcquireOutcome::use) leased.push_back(waiter->decision.slot);
            CHECK(waiter->wake_count >= (barging_window == 0ms ? 1 : 0));
            return true;
        });
    };
    const auto pick = [&](std::vector<SlotId>& from) {
        const std::size_t at = random() % from.size();
        const SlotId slot = from[at];
        from.erase(from.begin() + static_cast<std::ptrdiff_t>(at));
        return slot;
    };

    for (int step = 0; step < 200'000; ++step) {
        clock.advance(1ms);
        switch (random() % 16) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4: {
                const Decision decision = core.acquire(clock.now(), random() % 2 == 0);
                if (decision.outcome == AcquireOutcome::use) leased.push_back(decision.slot);
                if (decision.outcome == AcquireOutcome::create) creating.push_back(decision.slot);
                if (decision.outcome == AcquireOutcome::full && queued.size() < 8) {
                    if (queued.empty()) waiters.clear();
                    const auto deadline = clock.in(std::chrono::milliseconds(random() % 40));
                    queued.push_back(&waiters.emplace_back(clock.now(), deadline, random() % 2 == 0));
                    const Decision immediate = core.enqueue(*queued.back());
                    if (immediate.outcome != AcquireOutcome::none) queued.pop_back();
                    if (immediate.outcome == AcquireOutcome::use) leased.push_back(immediate.slot);
                    if (immediate.outcome == AcquireOutcome::create) creating.push_back(immediate.slot);
                }
                break;
            }
            case 5:
            case 6:
            case 7:
            case 8:
                if (!leased.empty()) {
                    const SlotId slot = pick(leased);
                    if (release(core, slot, clock) == PoolCore::ReleaseAction::close) closing.push_back(slot);
                } else if (!closing.empty()) {
                    core.closed(pick(closing), clock.now());
                }
                break;
            case 9:
                if (!leased.empty()) core.discard(pick(leased), clock.now());
                if (!closing.empty()) core.closed(pick(closing), clock.now());
                break;
            case 10:
            case 11:
            case 12:
                if (!creating.empty()) {
                    const SlotId slot = pick(creating);
                    const auto outcome = core.created(slot, clock.now());
                    (outcome == PoolCore::CreateOutcome::leased  ? leased
                     : outcome == PoolCore::CreateOutcome::stale ? creating
                                                                 : closing)
                        .push_back(slot);
                }
                break;
            case 13:
                if (!creating.empty()) core.create_failed(pick(creating), clock.now());
                break;
            case 14:
                if (random() % 50 == 0) core.reset(clock.now());
                if (!leased.empty() && random() % 4 == 0) {
                    const SlotId slot = pick(leased);
                    (core.recreate(slot) ? creating : closing).push_back(slot);
                }
                break;
            case 15: {
                limit = 1 + random() % 6;
                const kombu::ResizeOptions options{.ignore_errors = random() % 2 == 0};
                if (core.may_resize(limit, options)) core.set_limit(limit, options, clock.now());
                break;
            }
        }
        for (const SlotId slot : core_test::evicted(core, PoolCore::Eviction::close)) closing.push_back(slot);
        collect();
        excess = core.live() + core.creating() > core.limit() ? core.live() + core.creating() - core.limit() : 0;
        // Above the limit only after a soft shrink, and then nothing is idle.
        if (excess != 0 && core.idle() != 0) FAIL("idle resources above the limit at step " << step);
        const bool may_connect = max_connecting == 0 || core.creating() < max_connecting;
        if (core.waiting() != 0 && (core.idle() != 0 || (core.used() < core.limit() && may_connect)))
            FAIL("a waiter starves at step " << step);
        if (core.waiting() != queued.size()) FAIL("waiters are miscounted at step " << step);
        if (core.creating() != creating.size()) FAIL("creating is miscounted at step " << step);
        std::size_t in_use = 0;
        for (SlotId slot : leased) in_use += core.state(slot) == PoolCore::SlotState::live;
        if (core_test::leased_count(core) != in_use) FAIL("leases are miscounted at step " << step);
        if (std::set<SlotId>(leased.begin(), leased.end()).size() != leased.size())
            FAIL("a slot has two owners at step " << step);
    }
    SUCCEED();
}
