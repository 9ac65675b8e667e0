// SPDX-License-Identifier: BSD-3-Clause
// Options of a pool beyond lending, each with what happens without it. The tests pass the time to maintain() and do not
// wait for it.
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

PoolOptions without_background(PoolOptions options) {
    options.maintain_in_background = false;
    return options;
}

/// Makes `count` resources idle.
void fill(Pool& pool, std::size_t count) {
    std::vector<Lease<Thing>> leases;
    for (std::size_t i = 0; i < count; ++i) leases.push_back(pool.acquire());
}

}  // namespace

TEST_CASE("preload keeps that many idle, in the background", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5, .preload = 2}};
    REQUIRE(eventually([&] { return pool.stats().idle == 2; }));
    auto one = pool.acquire();
    CHECK(eventually([&] { return pool.stats().idle == 2; }));
    CHECK(factory.created() == 3);
}

TEST_CASE("preload stays within the limit, and without it nothing is created", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), without_background({.limit = 3, .preload = 5})};
    pool.maintain();
    CHECK(pool.stats().idle == 3);
    Pool lazy{factory.hooks(), without_background({.limit = 3})};
    lazy.maintain();
    CHECK(lazy.stats().idle == 0);
}

TEST_CASE("a failing preload is retried after growing delays, and counted", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), without_background({.limit = 3, .preload = 1})};
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

TEST_CASE("max_waiters refuses callers beyond that number of waiters", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1, .max_waiters = 1}};
    auto held = pool.acquire();
    auto waiter = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 20s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    const auto start = Clock::now();
    CHECK_THROWS_WITH(pool.acquire({.block = true, .timeout = 20s}), Contains("too many callers are waiting"));
    CHECK(Clock::now() - start < 5s);
    held.release();
    CHECK(waiter.get() == 1);
}

TEST_CASE("with max_connecting callers wait for a release or a create instead of all connecting",
          "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 10, .max_connecting = 1}};
    auto held = pool.acquire();
    std::promise<void> connect;
    factory.on_create([&] { (void)connect.get_future().wait_for(60s); });
    auto connecting = std::async(std::launch::async, [&] { return pool.acquire({.block = true}); });
    REQUIRE(eventually([&] { return pool.stats().connecting == 1; }));
    auto second = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 20s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    auto third = pool.acquire();  // a caller that may not wait connects nevertheless
    CHECK(third->id == 2);
    held.release();
    CHECK(second.get() == 1);
    CHECK(pool.stats().connecting == 1);
    connect.set_value();
    connecting.get().release();
    CHECK(factory.created() == 3);
}

TEST_CASE("a caller that waits because of max_connecting goes on when a connect fails", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 10, .max_connecting = 1}};
    std::promise<void> fail;
    factory.on_create([&] {
        (void)fail.get_future().wait_for(60s);
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

TEST_CASE("a spike is served by released resources, not by new ones", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), without_background({.limit = 50, .preload = 5})};
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
    // Callers that do not connect are served while the others still connect.
    CHECK(eventually([&] { return served >= 45; }));
    connect.set_value();
    for (auto& caller : callers) caller.join();
    CHECK(factory.created() <= 10);
}

TEST_CASE("idle_timeout closes resources idle for longer, except those that preload keeps", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), without_background({.limit = 5, .preload = 1, .idle_timeout = 60s})};
    fill(pool, 3);
    const auto now = Clock::now();
    pool.maintain(now + 50s);
    CHECK(pool.stats().idle == 3);
    pool.maintain(now + 61s);
    CHECK(pool.stats().idle == 1);
    CHECK(pool.stats().closed_for(CloseReason::idle_timeout) == 2);
    Pool keeping{factory.hooks(), without_background({.limit = 5})};
    fill(keeping, 3);
    keeping.maintain(now + 1000h);
    CHECK(keeping.stats().idle == 3);
}

TEST_CASE("idle_timeout works in the background", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 5, .idle_timeout = 20ms}};
    fill(pool, 3);
    CHECK(eventually([&] { return factory.live() == 0; }));
    CHECK(pool.stats().idle == 0);  // a resource leaves the pool before it is closed
}

TEST_CASE("max_lifetime closes older resources when they are idle, never in use", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), without_background({.limit = 2, .max_lifetime = 60s})};
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

TEST_CASE("lifetimes differ by up to a quarter", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), without_background({.limit = 100, .max_lifetime = 100s})};
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

TEST_CASE("validate checks each used resource before it is leased, and a dead one is replaced", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.validating_hooks(), {.limit = 2}};
    pool.acquire().release();
    CHECK(factory.validated == 0);  // it was just created
    auto lease = pool.acquire();
    CHECK(factory.validated == 1);
    lease->dead = true;
    lease.release();
    CHECK(pool.acquire()->id == 2);
    CHECK(pool.stats().closed_for(CloseReason::dead) == 1);
}

TEST_CASE("validate_after skips resources idle for less", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.validating_hooks(), {.limit = 1, .validate_after = 1h}};
    for (int i = 0; i < 5; ++i) pool.acquire().release();
    CHECK(factory.validated == 0);
    Pool impatient{factory.validating_hooks(), {.limit = 1, .validate_after = 1ns}};
    impatient.acquire().release();
    // The coarse clock advances in steps of milliseconds.
    CHECK(eventually([&] {
        impatient.acquire().release();
        return factory.validated > 0;
    }));
}

TEST_CASE("keepalive is called on resources idle for that long, and dead ones are closed", "[pool][maintenance]") {
    ScriptedFactory factory;
    auto hooks = factory.plain_hooks();
    std::multiset<int> kept_alive;
    hooks.keepalive = [&](Thing& thing, kombu::Deadline deadline) {
        kept_alive.insert(thing.id);
        CHECK_FALSE(deadline.is_never());
        return thing.id != 2;
    };
    Pool pool{hooks, without_background({.limit = 3, .keepalive = 60s})};
    fill(pool, 3);
    auto used = pool.acquire();
    const auto now = Clock::now();
    pool.maintain(now + 30s);
    CHECK(kept_alive.empty());
    pool.maintain(now + 61s);
    CHECK(kept_alive == std::multiset<int>{1, 2});
    pool.maintain(now + 90s);  // not due again
    CHECK(kept_alive.size() == 2);
    pool.maintain(now + 130s);
    CHECK(kept_alive == std::multiset<int>{1, 1, 2});
    CHECK(pool.stats().closed_for(CloseReason::dead) == 1);
    CHECK(pool.stats().idle == 1);
}

TEST_CASE("warm_up creates resources now, and throws the create error", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 3}};
    pool.warm_up(2);
    CHECK(pool.stats().idle == 2);
    pool.warm_up(2, 5s);  // two exist already
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

TEST_CASE("try_acquire gives an empty lease instead of an error", "[pool][maintenance]") {
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

TEST_CASE("a detached resource belongs to the caller, and its slot is free", "[pool][maintenance]") {
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

TEST_CASE("acquire_idle leases an idle resource and creates none", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    CHECK_FALSE(pool.acquire_idle());
    fill(pool, 1);
    auto lease = pool.acquire_idle();
    CHECK(lease);
    CHECK_FALSE(pool.acquire_idle());
    CHECK(factory.created() == 1);
}

TEST_CASE("the maintenance thread runs only while a pool needs it", "[pool][maintenance]") {
    ScriptedFactory factory;
    REQUIRE(eventually([] { return !kombu::detail::maintenance_thread().is_running(); }));
    {
        Pool plain{factory.hooks(), {.limit = 1, .max_waiters = 3, .validate_after = 1s}};
        Pool own{factory.hooks(), without_background({.limit = 1, .idle_timeout = 1s})};
        CHECK_FALSE(kombu::detail::maintenance_thread().is_running());
        Pool needing{factory.hooks(), {.limit = 1, .idle_timeout = 1s}};
        CHECK(kombu::detail::maintenance_thread().is_running());
    }
    CHECK(eventually([] { return !kombu::detail::maintenance_thread().is_running(); }));
}

TEST_CASE("keepalive leases one resource at a time", "[pool][maintenance]") {
    ScriptedFactory factory;
    auto hooks = factory.plain_hooks();
    Pool* kept_alive = nullptr;
    int calls = 0;
    hooks.keepalive = [&](Thing&, kombu::Deadline) {
        ++calls;
        CHECK(kept_alive->stats().in_use == 1);
        CHECK(kept_alive->stats().idle == 2);
        return true;
    };
    Pool pool{hooks, without_background({.limit = 3, .keepalive = 60s})};
    kept_alive = &pool;
    fill(pool, 3);
    pool.maintain(Clock::now() + 61s);
    CHECK(calls == 3);
}

TEST_CASE("warm_up counts existing resources, and waits for those being created", "[pool][maintenance]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    std::promise<void> fail;
    factory.on_create([&] {
        (void)fail.get_future().wait_for(60s);
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

TEST_CASE("a keepalive does not take the last free resource of a full pool", "[pool][maintenance]") {
    ScriptedFactory scripted;
    auto factory = scripted.hooks();
    Pool* self = nullptr;
    bool lent = true;
    factory.keepalive = [&](Thing&, kombu::Deadline) {
        lent = static_cast<bool>(self->acquire());
        return true;
    };
    Pool pool{std::move(factory), {.limit = 2, .keepalive = 1ns, .maintain_in_background = false}};
    self = &pool;
    { auto one = pool.acquire(), two = pool.acquire(); }
    CHECK_NOTHROW(pool.maintain(kombu::Clock::now() + 1h));
    CHECK(lent);
    auto held = pool.acquire();
    pool.maintain(kombu::Clock::now() + 2h);  // one is free: it is left alone
    CHECK(pool.acquire());
}
