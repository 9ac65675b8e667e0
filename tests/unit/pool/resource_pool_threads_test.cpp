// SPDX-License-Identifier: BSD-3-Clause
// Concurrent callers of one pool. The tests wait for each step and do not sleep.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/scripted_factory.hpp"

#include <future>
#include <stdexcept>

using namespace std::chrono_literals;
using kombu::ResourcePool;

namespace {

using Pool = ResourcePool<Thing>;

}  // namespace

TEST_CASE("a blocked acquire gets what is released, discarded, grown or reset", "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto held = pool.acquire();
    auto waiter = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 10s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    SECTION("released") { held.release(); }
    SECTION("discarded") { held.discard(); }
    SECTION("grown") { pool.resize(2); }
    SECTION("reset") { pool.reset(); }
    CHECK_NOTHROW(waiter.get());
    CHECK(pool.stats().waiting == 0);
}

TEST_CASE("closing the pool wakes the waiters with PoolClosed", "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto held = pool.acquire();
    auto waiter = std::async(std::launch::async, [&] { (void)pool.acquire({.block = true}); });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    SECTION("gently") { pool.close(); }
    SECTION("by force") { pool.force_close_all(); }
    CHECK_THROWS_AS(waiter.get(), kombu::PoolClosed);
}

TEST_CASE("a create that fails while others wait hands its capacity to a waiter", "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    std::promise<void> fail;
    factory.on_create([&] {
        (void)fail.get_future().wait_for(60s);
        throw std::runtime_error("refused");
    });
    auto first = std::async(std::launch::async, [&] { (void)pool.acquire(); });
    REQUIRE(eventually([&] { return pool.stats().connecting == 1; }));
    auto second = std::async(std::launch::async, [&] { return pool.acquire({.block = true, .timeout = 10s})->id; });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    fail.set_value();
    CHECK_THROWS_WITH(first.get(), "refused");
    CHECK(second.get() == 1);
}

TEST_CASE("other callers are served while a create is slow", "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    std::promise<void> go;
    std::atomic<bool> is_creating{false};
    factory.on_create([&] {
        is_creating = true;
        (void)go.get_future().wait_for(60s);  // bounded, so that a failed check below ends the test
    });
    auto slow = std::async(std::launch::async, [&] { (void)pool.acquire(); });
    // The step belongs to the first create, and not to the one below.
    REQUIRE(eventually([&] { return is_creating.load(); }));
    CHECK_NOTHROW(pool.acquire());
    CHECK(pool.stats().idle == 1);
    go.set_value();
    slow.get();
}

TEST_CASE("a reset while a resource is being created gives its caller a new one", "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    std::promise<void> go;
    factory.on_create([&] { (void)go.get_future().wait_for(60s); });
    auto acquired = std::async(std::launch::async, [&] { return pool.acquire()->id; });
    REQUIRE(eventually([&] { return pool.stats().connecting == 1; }));
    pool.reset();
    go.set_value();
    CHECK(acquired.get() == 2);
    CHECK(factory.live() == 1);
    CHECK(factory.most_live() == 1);
}

TEST_CASE("a reset while a used resource is being prepared gives its caller a new one when the used one is dead",
          "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto first = pool.acquire();
    Thing* const thing = first.get();
    first.release();
    thing->dead = true;
    factory.on_prepare([&] { pool.reset(); });
    CHECK(pool.acquire()->id == 2);
    CHECK(factory.live() == 1);
    CHECK_FALSE(factory.closed_twice);
}

TEST_CASE("closing the pool while a resource is being created closes that resource too", "[pool][threads]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    factory.on_create([&] { pool.close(); });
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    CHECK(factory.live() == 0);
}
