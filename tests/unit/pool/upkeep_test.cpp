// What a pool does beyond lending: each option, with what happens without it. Time is given to maintain(), not waited
// for.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/scripted_factory.hpp"

#include <future>
#include <latch>
#include <set>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using kombu::Clock;
using kombu::CloseReason;
using kombu::Lease;
using kombu::PoolOptions;
using kombu::ResourcePool;

namespace {

using Pool = ResourcePool<Thing>;

PoolOptions by_hand(PoolOptions options) {
    options.maintain_in_background = false;
    return options;
}

/// Has `count` resources idle.
void fill(Pool& pool, std::size_t count) {
    std::vector<Lease<Thing>> leases;
    for (std::size_t i = 0; i < count; ++i) leases.push_back(pool.acquire());
}

}  // namespace

TEST_CASE("preload keeps that many idle, in the background", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5, .preload = 2}};
    REQUIRE(eventually([&] { return pool.stats().idle == 2; }));
    auto one = pool.acquire();
    CHECK(eventually([&] { return pool.stats().idle == 2; }));
    CHECK(factory.created() == 3);
}

TEST_CASE("preload stays within the limit, and without it nothing is made", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), by_hand({.limit = 3, .preload = 5})};
    pool.maintain();
    CHECK(pool.stats().idle == 3);
    Pool lazy{factory.hooks(), by_hand({.limit = 3})};
    lazy.maintain();
    CHECK(lazy.stats().idle == 0);
}

TEST_CASE("a failing preload tries again later, less and less often, and tells", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), by_hand({.limit = 3, .preload = 1})};
    const auto now = Clock::now();
    for (int i = 0; i < 2; ++i) factory.on_create(ScriptedFactory::fails("refused"));
    pool.maintain(now);
    pool.maintain(now + 50ms);
    CHECK(pool.stats().create_failures == 1);
    pool.maintain(now + 100ms);
    CHECK(pool.stats().create_failures == 2);
    pool.maintain(now + 250ms);
    CHECK(pool.stats().idle == 0);
    pool.maintain(now + 300ms);
    CHECK(pool.stats().idle == 1);
}

TEST_CASE("max_waiters refuses who would wait behind that many", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1, .max_waiters = 1}};
    auto held = pool.acquire();
    auto waiter = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 20s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    const auto start = Clock::now();
    CHECK_THROWS_WITH(pool.acquire({.block = true, .timeout = 20s}), Contains("too many wait"));
    CHECK(Clock::now() - start < 5s);
    held.release();
    CHECK(waiter.get() == 1);
}

TEST_CASE("max_connecting has callers wait for what comes first instead of connecting all at once", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 10, .max_connecting = 1}};
    auto held = pool.acquire();
    std::promise<void> connect;
    factory.on_create([&] { connect.get_future().wait(); });
    auto connecting = std::async(std::launch::async, [&] { return pool.acquire({.block = true}); });
    REQUIRE(eventually([&] { return pool.stats().connecting == 1; }));
    auto second = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 20s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    auto third = pool.acquire();  // who may not wait connects all the same
    CHECK(third->id == 2);
    held.release();
    CHECK(second.get() == 1);
    CHECK(pool.stats().connecting == 1);
    connect.set_value();
    connecting.get().release();
    CHECK(factory.created() == 3);
}

TEST_CASE("who waits because others connect goes on when one of them has failed", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 10, .max_connecting = 1}};
    std::promise<void> fail;
    factory.on_create([&] {
        fail.get_future().wait();
        throw std::runtime_error("refused");
    });
    auto first = std::async(std::launch::async, [&] { (void)pool.acquire({.block = true}); });
    REQUIRE(eventually([&] { return pool.stats().connecting == 1; }));
    auto second = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 20s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    fail.set_value();
    CHECK_THROWS_WITH(first.get(), "refused");
    CHECK(second.get() == 1);
}

TEST_CASE("a spike is served by what comes back, not by new connections", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), by_hand({.limit = 50, .preload = 5})};
    pool.warm_up(5);
    std::promise<void> connect;
    const auto connected = connect.get_future().share();
    for (int i = 0; i < 50; ++i) factory.on_create([connected] { connected.wait(); });
    std::latch start{50};
    std::atomic<int> served{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 50; ++i)
        callers.emplace_back([&] {
            start.arrive_and_wait();
            auto lease = pool.acquire({.block = true, .timeout = 20s});
            ++served;
        });
    // Whoever does not connect is served while those still do.
    CHECK(eventually([&] { return served >= 45; }));
    connect.set_value();
    for (auto& caller : callers) caller.join();
    CHECK(factory.created() <= 10);
}

TEST_CASE("idle_timeout closes what was idle for so long, but for what preload keeps", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), by_hand({.limit = 5, .preload = 1, .idle_timeout = 60s})};
    fill(pool, 3);
    const auto now = Clock::now();
    pool.maintain(now + 50s);
    CHECK(pool.stats().idle == 3);
    pool.maintain(now + 61s);
    CHECK(pool.stats().idle == 1);
    CHECK(pool.stats().closed_for(CloseReason::idle_timeout) == 2);
    Pool keeping{factory.hooks(), by_hand({.limit = 5})};
    fill(keeping, 3);
    keeping.maintain(now + 1000h);
    CHECK(keeping.stats().idle == 3);
}

TEST_CASE("idle_timeout works in the background", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5, .idle_timeout = 20ms}};
    fill(pool, 3);
    CHECK(eventually([&] { return pool.stats().idle == 0; }));
    CHECK(factory.live() == 0);
}

TEST_CASE("max_lifetime closes what is older when it is idle, never what is in use", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), by_hand({.limit = 2, .max_lifetime = 60s})};
    auto used = pool.acquire();
    pool.acquire().release();
    const auto now = Clock::now();
    pool.maintain(now + 44s);
    CHECK(factory.closed() == 0);
    pool.maintain(now + 61s);
    CHECK(factory.closed() == 1);
    CHECK(used->closed == 0);
    used.release();
    CHECK(factory.closed() == 2);
    CHECK(pool.stats().closed_for(CloseReason::max_lifetime) == 2);
}

TEST_CASE("lifetimes differ by up to a quarter", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), by_hand({.limit = 100, .max_lifetime = 100s})};
    fill(pool, 100);
    const auto now = Clock::now();
    pool.maintain(now + 74s);
    CHECK(factory.closed() == 0);
    pool.maintain(now + 88s);
    CHECK(factory.closed() > 20);
    CHECK(factory.closed() < 80);
    pool.maintain(now + 101s);
    CHECK(factory.closed() == 100);
}

TEST_CASE("validate looks at each used resource before it is lent, and a dead one is replaced", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.looking_hooks(), {.limit = 2}};
    pool.acquire().release();
    CHECK(factory.validated == 0);  // it was new
    auto lease = pool.acquire();
    CHECK(factory.validated == 1);
    lease->dead = true;
    lease.release();
    CHECK(pool.acquire()->id == 2);
    CHECK(pool.stats().closed_for(CloseReason::dead) == 1);
}

TEST_CASE("validate_after spares what was idle for less", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.looking_hooks(), {.limit = 1, .validate_after = 1h}};
    for (int i = 0; i < 5; ++i) pool.acquire().release();
    CHECK(factory.validated == 0);
    Pool impatient{factory.looking_hooks(), {.limit = 1, .validate_after = 1ns}};
    impatient.acquire().release();
    // The clock for this moves in steps of milliseconds.
    CHECK(eventually([&] {
        impatient.acquire().release();
        return factory.validated > 0;
    }));
}

TEST_CASE("keepalive is called on what was idle for so long, and closes what is dead", "[pool][upkeep]") {
    ScriptedFactory factory;
    auto hooks = factory.plain_hooks();
    std::multiset<int> asked;
    hooks.keepalive = [&](Thing& thing, kombu::Deadline deadline) {
        asked.insert(thing.id);
        CHECK_FALSE(deadline.is_never());
        return thing.id != 2;
    };
    Pool pool{hooks, by_hand({.limit = 3, .keepalive = 60s})};
    fill(pool, 3);
    auto used = pool.acquire();
    const auto now = Clock::now();
    pool.maintain(now + 30s);
    CHECK(asked.empty());
    pool.maintain(now + 61s);
    CHECK(asked == std::multiset<int>{1, 2});
    pool.maintain(now + 90s);  // not again so soon
    CHECK(asked.size() == 2);
    pool.maintain(now + 130s);
    CHECK(asked == std::multiset<int>{1, 1, 2});
    CHECK(pool.stats().closed_for(CloseReason::dead) == 1);
    CHECK(pool.stats().idle == 1);
}

TEST_CASE("warm_up makes resources now, and reports why it cannot", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 3}};
    pool.warm_up(2);
    CHECK(pool.stats().idle == 2);
    pool.warm_up(2, 5s);  // there are as many
    CHECK(factory.created() == 2);
    factory.on_create(ScriptedFactory::fails("access refused"));
    CHECK_THROWS_WITH(pool.warm_up(3, kombu::Deadline::after(5s)), "access refused");
    CHECK(pool.stats().idle == 2);
    pool.warm_up(10);
    CHECK(pool.stats().idle == 3);
    Pool late{factory.hooks(), {.limit = 3}};
    CHECK_THROWS_AS(late.warm_up(1, 0s), kombu::Timeout);
    CHECK(late.stats().connecting == 0);
    late.close();
    CHECK_THROWS_AS(late.warm_up(1), kombu::PoolClosed);
}

TEST_CASE("try_acquire gives an empty lease instead of an error", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto lease = pool.try_acquire();
    CHECK(lease);
    CHECK_FALSE(pool.try_acquire());
    lease.release();
    CHECK(pool.try_acquire());
    factory.on_prepare(ScriptedFactory::fails("no"));
    CHECK_THROWS_WITH(pool.try_acquire(), "no");
    pool.close();
    CHECK_THROWS_AS(pool.try_acquire(), kombu::PoolClosed);
}

TEST_CASE("a detached resource is its taker's, and its slot is free", "[pool][upkeep]") {
    ScriptedFactory factory;
    std::shared_ptr<Thing> mine;
    {
        Pool pool{factory.hooks(), {.limit = 1}};
        auto lease = pool.acquire();
        mine = lease.detach();
        CHECK_FALSE(lease);
        CHECK(lease.detach() == nullptr);
        CHECK(mine->id == 1);
        CHECK(pool.acquire()->id == 2);
    }
    CHECK(mine->closed == 0);
}

TEST_CASE("take_idle lends what is idle and makes nothing", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    CHECK_FALSE(pool.acquire_idle());
    fill(pool, 1);
    auto lease = pool.acquire_idle();
    CHECK(lease);
    CHECK_FALSE(pool.acquire_idle());
    CHECK(factory.created() == 1);
}

TEST_CASE("the maintenance thread is there only while a pool needs it", "[pool][upkeep]") {
    ScriptedFactory factory;
    REQUIRE(eventually([] { return !kombu::detail::maintenance_thread().is_running(); }));
    {
        Pool plain{factory.hooks(), {.limit = 1, .max_waiters = 3, .validate_after = 1s}};
        Pool own{factory.hooks(), by_hand({.limit = 1, .idle_timeout = 1s})};
        CHECK_FALSE(kombu::detail::maintenance_thread().is_running());
        Pool needing{factory.hooks(), {.limit = 1, .idle_timeout = 1s}};
        CHECK(kombu::detail::maintenance_thread().is_running());
    }
    CHECK(eventually([] { return !kombu::detail::maintenance_thread().is_running(); }));
}

TEST_CASE("keepalive leaves all resources but one to the pool's users, and all when they wait", "[pool][upkeep]") {
    ScriptedFactory factory;
    auto hooks = factory.plain_hooks();
    Pool* asked = nullptr;
    int calls = 0;
    hooks.keepalive = [&](Thing&, kombu::Deadline) {
        ++calls;
        CHECK(asked->stats().in_use == 1);
        CHECK(asked->stats().idle == 2);
        return true;
    };
    Pool pool{hooks, by_hand({.limit = 3, .keepalive = 60s})};
    asked = &pool;
    fill(pool, 3);
    pool.maintain(Clock::now() + 61s);
    CHECK(calls == 3);
}

TEST_CASE("warm_up counts what is there, and waits for what others are making", "[pool][upkeep]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    std::promise<void> fail;
    factory.on_create([&] {
        fail.get_future().wait();
        throw std::runtime_error("refused");
    });
    auto other = std::async(std::launch::async, [&] { (void)pool.acquire(); });
    REQUIRE(eventually([&] { return pool.stats().connecting == 1; }));
    auto warming = std::async(std::launch::async, [&] { pool.warm_up(1, 20s); });
    CHECK(warming.wait_for(20ms) == std::future_status::timeout);
    fail.set_value();
    CHECK_THROWS_WITH(other.get(), "refused");
    warming.get();
    CHECK(pool.stats().idle == 1);
}
