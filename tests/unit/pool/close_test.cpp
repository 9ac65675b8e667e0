// SPDX-License-Identifier: BSD-3-Clause
// Closing a pool, opening it again, and closing resources by choice.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/scripted_factory.hpp"

#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;
using Pool = kombu::ResourcePool<Thing>;

TEST_CASE("close_and_wait waits for the leases and says how many are not back", "[pool][close]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 3}};
    auto first = pool.acquire(), second = pool.acquire();
    pool.acquire().release();
    CHECK(pool.close_and_wait(0s) == 2);
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    CHECK(factory.live() == 2);
    std::jthread holder{[lease = std::move(first)]() mutable {
        std::this_thread::yield();
        lease.release();
    }};
    second.detach();
    CHECK(pool.close_and_wait() == 0);
    holder.join();
    CHECK(factory.live() == 1);  // the detached one
}

TEST_CASE("a pool that was closed works again after a reset", "[pool][close]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    pool.acquire().release();
    pool.force_close_all();
    REQUIRE_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    pool.reset();
    CHECK(pool.acquire());
    CHECK(pool.stats().limit == 1);
}

TEST_CASE("a limit that is set while the pool is closed is that of the pool after a reset", "[pool][close]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 3}};
    auto held = pool.acquire();
    pool.close();
    pool.resize(1);  // no lease can be in its way
    CHECK(pool.limit() == 1);
    CHECK(held->interrupted == 0);
    pool.reset();
    auto lease = pool.acquire();
    CHECK_FALSE(pool.try_acquire());
    lease.release();
    pool.force_close_all();
    pool.resize(2);
    pool.reset();
    auto one = pool.acquire(), two = pool.acquire();
    CHECK_FALSE(pool.try_acquire());
}

TEST_CASE("a reset ends a wait for the leases of a closed pool", "[pool][close]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1}};
    auto held = pool.acquire();
    auto waiting = std::async(std::launch::async, [&] { return pool.close_and_wait(120s); });
    REQUIRE(eventually([&] {
        try {
            return static_cast<bool>(pool.try_acquire());
        } catch (const kombu::PoolClosed&) {
            return true;
        }
    }));
    pool.reset();
    auto again = pool.acquire();
    CHECK(waiting.wait_for(60s) == std::future_status::ready);
    again.release();
    held.release();
}

TEST_CASE("evict_if closes the idle resources that the predicate chooses", "[pool][evict]") {
    ScriptedFactory factory;
    Pool pool{factory.plain_hooks(), {.limit = 4}};
    auto held = pool.acquire();
    held->dead = true;
    {
        auto one = pool.acquire(), two = pool.acquire(), three = pool.acquire();
        two->dead = true;
    }
    CHECK(pool.evict_if([](const Thing& resource) { return resource.dead.load(); }) == 1);
    CHECK(factory.live() == 3);
    CHECK(pool.stats().closed_for(kombu::CloseReason::evicted) == 1);
    CHECK_THROWS_WITH(pool.evict_if([](Thing&) -> bool { throw std::runtime_error("look"); }), "look");
    CHECK(pool.stats().idle == 2);
}
