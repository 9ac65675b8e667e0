// SPDX-License-Identifier: BSD-3-Clause
// The behaviours P1 to P25 of Kombu's pools; docs/parity.md lists those that differ.
#include "support/catch.hpp"
#include "support/scripted_factory.hpp"

#include <thread>
#include <vector>

using namespace std::chrono_literals;
using kombu::AcquireOptions;
using kombu::Lease;
using kombu::ResourcePool;

namespace {

using Pool = ResourcePool<Thing>;

std::pair<std::size_t, std::size_t> idle_and_used(const Pool& pool) {
    const auto stats = pool.stats();
    return {stats.idle, stats.in_use};
}
using Counts = std::pair<std::size_t, std::size_t>;

}  // namespace

TEST_CASE("P1 a pool without a create function is refused", "[pool]") {
    CHECK_THROWS_AS(Pool(kombu::ResourceFactory<Thing>{}), kombu::ConfigurationError);
}

TEST_CASE("P2 a new pool has created nothing", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5}};
    CHECK(pool.limit() == 5);
    CHECK(idle_and_used(pool) == Counts{0, 0});
    CHECK(factory.created() == 0);
}

TEST_CASE("P3 acquired resources are in use, released ones idle", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 3}};
    auto a = pool.acquire();
    auto b = pool.acquire();
    CHECK(idle_and_used(pool) == Counts{0, 2});
    a.release();
    CHECK(idle_and_used(pool) == Counts{1, 1});
    b.release();
    CHECK(idle_and_used(pool) == Counts{2, 0});
    CHECK(factory.created() == 2);
}

TEST_CASE("P4 acquire beyond the limit without blocking throws LimitExceeded with the limit", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1, .name = "things"}};
    auto held = pool.acquire();
    try {
        (void)pool.acquire();
        FAIL("acquired beyond the limit");
    } catch (const kombu::LimitExceeded& error) {
        CHECK(error.limit() == 1);
        CHECK(std::string(error.what()).find("things: no resource is free (limit 1, in use 1") == 0);
    }
}

TEST_CASE("P5 a blocking acquire on a full pool throws LimitExceeded after its timeout, not before", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto held = pool.acquire();
    const auto start = kombu::Clock::now();
    CHECK_THROWS_AS(pool.acquire({.block = true, .timeout = 30ms}), kombu::LimitExceeded);
    CHECK(kombu::Clock::now() - start >= 30ms);
    CHECK(pool.stats().timeouts == 1);
}

TEST_CASE("P6 the resource released last is acquired first", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    auto a = pool.acquire();
    auto b = pool.acquire();
    const int last = b->id;  // not that of the lowest slot, which would be first without any memory
    a.release();
    b.release();
    CHECK(pool.acquire()->id == last);
}

TEST_CASE("P6 after 1,024 uses of a slot its thread starts from the lowest slot again", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    auto a = pool.acquire();
    auto b = pool.acquire();
    const int first = a->id, last = b->id;
    a.release();
    b.release();
    for (int use = 2; use <= 1024; ++use) REQUIRE(pool.acquire()->id == last);
    CHECK(pool.acquire()->id == first);
}

TEST_CASE("P7 when a new resource cannot be prepared the slot is free again and the error passes on", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    factory.on_prepare(ScriptedFactory::fails("no"));
    CHECK_THROWS_WITH(pool.acquire(), "no");
    CHECK(idle_and_used(pool) == Counts{0, 0});
    CHECK(factory.live() == 0);
    CHECK_NOTHROW(pool.acquire());
}

TEST_CASE("P7 when create throws the slot is free again and the error passes on", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    factory.on_create(ScriptedFactory::fails("refused"));
    CHECK_THROWS_WITH(pool.acquire(), "refused");
    CHECK(idle_and_used(pool) == Counts{0, 0});
    factory.on_create(ScriptedFactory::fails("refused again"));
    CHECK_THROWS_WITH(pool.acquire(), "refused again");
    auto lease = pool.acquire();
    try {
        (void)pool.acquire();
        FAIL("acquired beyond the limit");
    } catch (const kombu::LimitExceeded& error) {
        CHECK(error.report().last_error == "");  // a later create has succeeded
    }
}

TEST_CASE("the error of a full pool reports the last create error", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    auto lease = pool.acquire();
    factory.on_create(ScriptedFactory::fails("refused"));
    CHECK_THROWS_WITH(pool.acquire(), "refused");
    pool.resize(1, {.ignore_errors = true});
    try {
        (void)pool.acquire();
        FAIL("acquired beyond the limit");
    } catch (const kombu::LimitExceeded& error) {
        CHECK(error.report().last_error == "refused");
    }
}

TEST_CASE("an acquire that lost its resource to a reset waits within its timeout, and reports how long", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    pool.acquire().release();
    Lease<Thing> competitor;
    factory.on_prepare([&] {
        pool.reset();
        competitor = pool.acquire();
    });
    try {
        (void)pool.acquire({.block = true, .timeout = 30ms});
        FAIL("acquired beyond the limit");
    } catch (const kombu::LimitExceeded& error) {
        CHECK(error.report().waited < 10s);
        CHECK(error.report().oldest_lease->age < 10s);
    }
}

TEST_CASE("a pool closed gently can be closed by force", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto lease = pool.acquire();
    pool.close();
    CHECK(lease->interrupted == 0);
    pool.force_close_all();
    CHECK(lease->interrupted == 1);
    lease.release();
    CHECK(factory.live() == 0);
    CHECK_FALSE(factory.closed_twice);
}

TEST_CASE("lifting the limit closes what is idle, since an unlimited pool keeps nothing", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.plain_hooks(), {.limit = 3}};
    { auto a = pool.acquire(), b = pool.acquire(); }
    CHECK(idle_and_used(pool) == Counts{2, 0});
    pool.resize(0);
    CHECK(idle_and_used(pool) == Counts{0, 0});
    CHECK(factory.live() == 0);
}

TEST_CASE("P8 when a used resource cannot be prepared it goes back and the error passes on", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    pool.acquire().release();
    factory.on_prepare(ScriptedFactory::fails("later"));
    CHECK_THROWS_WITH(pool.acquire(), "later");
    CHECK(idle_and_used(pool) == Counts{1, 0});
    CHECK(pool.acquire()->id == 1);
}

TEST_CASE("P9 an unlimited pool creates a resource for each acquire and keeps none", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks()};
    auto a = pool.acquire();
    auto b = pool.acquire();
    CHECK(idle_and_used(pool) == Counts{0, 2});
    a.release();
    b.release();
    CHECK(idle_and_used(pool) == Counts{0, 0});
    CHECK(factory.live() == 0);
}

TEST_CASE("P10 shrinking a pool in use is refused and changes nothing", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5}};
    auto held = pool.acquire();
    CHECK_THROWS_AS(pool.resize(4), kombu::PoolInUse);
    CHECK(pool.limit() == 5);
    held.release();
    pool.resize(4);
    CHECK(pool.limit() == 4);
}

TEST_CASE("P11 a soft shrink with everything in use closes the excess as it comes back", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5}};
    std::vector<Lease<Thing>> held;
    for (int i = 0; i < 5; ++i) held.push_back(pool.acquire());
    pool.resize(4, {.ignore_errors = true});
    CHECK(idle_and_used(pool) == Counts{0, 5});
    held.clear();
    CHECK(idle_and_used(pool) == Counts{4, 0});  // Kombu: 5, over its limit for ever
}

TEST_CASE("P12 a soft shrink drops what is free first", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5}};
    std::vector<Lease<Thing>> held;
    for (int i = 0; i < 5; ++i) held.push_back(pool.acquire());
    held.pop_back();
    pool.resize(4, {.ignore_errors = true});
    CHECK(idle_and_used(pool) == Counts{0, 4});
    held.clear();
    CHECK(idle_and_used(pool) == Counts{4, 0});
}

TEST_CASE("P13 a pool in use can grow", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto a = pool.acquire();
    pool.resize(2);
    auto b = pool.acquire();
    CHECK(idle_and_used(pool) == Counts{0, 2});
    a.release();
    b.release();
    CHECK(idle_and_used(pool) == Counts{2, 0});
}

TEST_CASE("P14 a forced shrink interrupts what is in use", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    auto a = pool.acquire();
    auto b = pool.acquire();
    pool.resize(1, {.force = true});
    CHECK(idle_and_used(pool) == Counts{0, 0});
    CHECK(a->interrupted == 1);
    a.release();
    b.release();
    CHECK(factory.live() == 0);
    CHECK_NOTHROW(pool.acquire());
}

TEST_CASE("P15 a resize with reset leaves an empty pool that works", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    auto a = pool.acquire();
    auto b = pool.acquire();
    pool.resize(3, {.reset = true});
    CHECK(idle_and_used(pool) == Counts{0, 0});
    auto c = pool.acquire();
    CHECK(c->id == 3);
}

TEST_CASE("P16 the limit can be lifted while in use, and set again with a correct count", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 10}};
    auto held = pool.acquire();
    pool.resize(0);
    CHECK(pool.limit() == 0);
    pool.resize(10);
    held.release();
    std::vector<Lease<Thing>> all;
    for (int i = 0; i < 10; ++i) all.push_back(pool.acquire());
    CHECK_THROWS_AS(pool.acquire(), kombu::LimitExceeded);
}

TEST_CASE("P16 setting a limit on an unlimited pool counts what is in use", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks()};
    auto a = pool.acquire();
    auto b = pool.acquire();
    CHECK_THROWS_AS(pool.resize(1), kombu::PoolInUse);
    pool.resize(2);
    CHECK_THROWS_AS(pool.acquire(), kombu::LimitExceeded);
}

TEST_CASE("P17 discard closes the resource and frees its slot, limited or not", "[pool]") {
    ScriptedFactory factory;
    Pool limited{factory.hooks(), {.limit = 1}};
    auto lease = limited.acquire();
    lease.discard();
    CHECK_FALSE(lease);
    CHECK(factory.live() == 0);
    CHECK(limited.stats().discarded == 1);
    CHECK_NOTHROW(limited.acquire());

    Pool unlimited{factory.hooks()};
    unlimited.acquire().discard();
    CHECK(unlimited.stats().in_use == 0);
}

TEST_CASE("P18 force_close_all closes what is idle and interrupts what is in use", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    auto held = pool.acquire();
    pool.acquire().release();
    pool.force_close_all();
    CHECK(idle_and_used(pool) == Counts{0, 0});
    CHECK(held->interrupted == 1);
    CHECK(factory.closed() == 1);
    held.release();
    CHECK(factory.closed() == 2);
}

TEST_CASE("P18 exceptions of close and recycle are swallowed", "[pool]") {
    kombu::ResourceFactory<Thing> hooks;
    hooks.create = [](kombu::Deadline) { return std::make_shared<Thing>(1); };
    hooks.close = [](Thing&) { throw std::runtime_error("close"); };
    hooks.recycle = [](Thing&, bool) -> bool { throw std::runtime_error("recycle"); };
    Pool pool{hooks, {.limit = 1}};
    CHECK_NOTHROW(pool.acquire().release());
    CHECK(pool.stats().discarded == 1);
}

TEST_CASE("P19 a closed pool refuses, and closing it again does nothing", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    pool.force_close_all();
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    CHECK_NOTHROW(pool.force_close_all());
    CHECK_NOTHROW(pool.close());
}

TEST_CASE("P20 slots that were never filled need no closing", "[pool]") {
    ScriptedFactory factory;
    {
        Pool pool{factory.hooks(), {.limit = 100}};
        pool.reset();
    }
    CHECK(factory.closed() == 0);
}

TEST_CASE("P22 preparing a used resource gives the same one", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    const int id = pool.acquire()->id;
    CHECK(pool.acquire()->id == id);
}

TEST_CASE("P24 a lease destroyed by an exception discards its resource", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    const auto fail = [&] {
        auto lease = pool.acquire();
        throw std::runtime_error("business");
    };
    CHECK_THROWS(fail());
    CHECK(factory.closed() == 1);
    CHECK(pool.acquire()->id == 2);
}

TEST_CASE("P24 a lease that begins and ends in a catch block or a destructor is not treated as unwinding", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    struct Cleanup {
        Pool& pool;
        ~Cleanup() { auto lease = pool.acquire(); }
    };
    try {
        Cleanup cleanup{pool};
        throw std::runtime_error("business");
    } catch (const std::exception&) {
        auto lease = pool.acquire();
    }
    CHECK(factory.closed() == 0);
}

TEST_CASE("P25 an unlimited pool serves acquire after acquire", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks()};
    std::vector<Lease<Thing>> all;
    for (int i = 0; i < 50; ++i) all.push_back(pool.acquire());
    CHECK(pool.stats().in_use == 50);
}

TEST_CASE("a resource found dead on acquire is replaced in its slot", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    {
        auto lease = pool.acquire();
        lease.release();
    }
    auto first = pool.acquire();
    Thing* const thing = first.get();
    first.release();
    thing->dead = true;
    auto second = pool.acquire();
    CHECK(second->id == 2);
    CHECK(factory.live() == 1);
    CHECK(factory.most_live() == 1);
}

TEST_CASE("a factory may acquire from the pool it works for", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    factory.on_create([&] { (void)pool.acquire({.block = true, .timeout = 10ms}); });
    CHECK_THROWS_AS(pool.acquire({.timeout = 1s}), kombu::LimitExceeded);
    CHECK_NOTHROW(pool.acquire());
}

TEST_CASE("the factory gets the deadline of the call", "[pool]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    const auto before = kombu::Clock::now();
    (void)pool.acquire({.timeout = 3s});
    CHECK(factory.last_deadline().when() - before >= 3s);
    CHECK(factory.last_deadline().when() - before < 13s);
}

TEST_CASE("timeouts of any size and sign are understood", "[pool][deadline]") {
    using kombu::OptionalTimeout;
    CHECK(OptionalTimeout{250ms}.value() == 250ms);
    CHECK(OptionalTimeout{1.5s}.value() == 1500ms);
    CHECK(OptionalTimeout{-5s}.value() == 0ns);
    CHECK_FALSE(OptionalTimeout{std::chrono::hours::max()}.has_value());
    CHECK_FALSE(OptionalTimeout{}.has_value());
    CHECK(kombu::Deadline::after(std::chrono::hours::max()).is_never());
    CHECK(kombu::Deadline::after(0s).expired());
}

TEST_CASE("resets during a slow create do not prolong the acquire beyond its deadline", "[pool][deadline]") {
    ScriptedFactory scripted;
    Pool* self = nullptr;
    auto factory = scripted.hooks();
    int creates = 0;
    factory.create = [&](const kombu::Acquisition& acquisition) {
        ++creates;
        self->reset();
        while (!acquisition.deadline.expired()) std::this_thread::yield();
        return std::make_shared<Thing>(creates);
    };
    Pool pool{std::move(factory), {.limit = 1}};
    self = &pool;
    try {
        (void)pool.acquire({.block = true, .timeout = 1ms});
        FAIL("the acquire succeeded");
    } catch (const kombu::LimitExceeded& error) {
        CHECK(error.report().waited >= 1ms);
    }
    CHECK(creates == 1);
    CHECK(scripted.closed() == 1);
    CHECK_THROWS_AS(pool.warm_up(1, 1ms), kombu::Timeout);
    CHECK(pool.stats().connecting == 0);
}

TEST_CASE("an error of last_error or interrupt neither ends the process nor replaces LimitExceeded", "[pool]") {
    ScriptedFactory scripted;
    auto factory = scripted.hooks();
    factory.last_error = []() -> std::string { throw std::runtime_error("last_error"); };
    factory.interrupt = [](Thing&) { throw std::runtime_error("interrupt"); };
    Pool pool{std::move(factory), {.limit = 1}};
    auto held = pool.acquire();
    CHECK_THROWS_AS(pool.acquire(), kombu::LimitExceeded);
    pool.reset();
}
