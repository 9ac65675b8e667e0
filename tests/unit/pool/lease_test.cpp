// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"
#include "support/scripted_factory.hpp"

#include <kombu/pool/async.hpp>

#include <optional>
#include <utility>

using namespace std::chrono_literals;
using kombu::ResourcePool;

namespace {

using Pool = ResourcePool<Thing>;

std::pair<std::size_t, std::size_t> idle_and_used(const Pool& pool) {
    const auto stats = pool.stats();
    return {stats.idle, stats.in_use};
}
using Counts = std::pair<std::size_t, std::size_t>;

}  // namespace

TEST_CASE("a lease releases its resource exactly once, whatever is done to it", "[pool][lease]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 2}};
    SECTION("release twice") {
        auto lease = pool.acquire();
        lease.release();
        lease.release();
        CHECK(idle_and_used(pool) == Counts{1, 0});
    }
    SECTION("release after discard") {
        auto lease = pool.acquire();
        lease.discard();
        lease.release();
        CHECK(idle_and_used(pool) == Counts{0, 0});
    }
    SECTION("moved from") {
        auto lease = pool.acquire();
        auto other = std::move(lease);
        CHECK_FALSE(lease);
        lease.release();
        CHECK(pool.in_use() == 1);
        CHECK_THROWS_AS(lease->id, kombu::LeaseError);
    }
    SECTION("self-move") {
        auto lease = pool.acquire();
        auto& alias = lease;
        lease = std::move(alias);
        CHECK(lease);
        CHECK(pool.in_use() == 1);
    }
    SECTION("move over a live lease") {
        auto lease = pool.acquire();
        auto other = pool.acquire();
        lease = std::move(other);
        CHECK(idle_and_used(pool) == Counts{1, 1});
    }
    SECTION("use after release") {
        auto lease = pool.acquire();
        lease.release();
        CHECK_THROWS_AS(*lease, kombu::LeaseError);
        CHECK(lease.get() == nullptr);
    }
}

TEST_CASE("a lease may outlive its pool", "[pool][lease]") {
    ScriptedFactory factory;
    std::optional<Pool> pool;
    pool.emplace(factory.hooks(), kombu::PoolOptions{.limit = 1});
    auto lease = pool->acquire();
    pool.reset();
    CHECK(lease->closed == 0);
    lease.release();
    CHECK(factory.live() == 0);
}

template <class Lease>
concept DereferencedAsTemporary = requires(Lease lease) {
    *std::move(lease);
};
template <class Lease>
concept GotFromTemporary = requires(Lease lease) {
    std::move(lease).get();
};
static_assert(!DereferencedAsTemporary<kombu::Lease<int>> && !GotFromTemporary<kombu::Lease<int>>,
              "a reference to the resource of a temporary lease would outlive the lease");

namespace {

kombu::async::Operation<kombu::Lease<Thing>> acquire_in_a_coroutine(kombu::ResourcePool<Thing>& pool) {
    kombu::Lease<Thing> lease = co_await kombu::async::acquire(pool);
    co_return lease;
}

}  // namespace

TEST_CASE("a coroutine may return the lease that it has acquired", "[pool][lease]") {
    struct NoWaker final : kombu::async::Waker {
        void wake() noexcept override {}
    };
    ScriptedFactory factory;
    kombu::ResourcePool<Thing> pool{factory.hooks(), {.limit = 1}};
    NoWaker waker;
    {
        auto operation = acquire_in_a_coroutine(pool);
        operation.handle().set_waker(waker);
        REQUIRE(operation.resume());
        const kombu::Lease<Thing> lease = operation.result();
        CHECK(lease->id == 1);
        CHECK(pool.stats().in_use == 1);
    }
    CHECK(pool.stats().idle == 1);
    // One that nobody takes goes back.
    {
        auto operation = acquire_in_a_coroutine(pool);
        operation.handle().set_waker(waker);
        REQUIRE(operation.resume());
    }
    CHECK(pool.stats().idle == 1);
}
