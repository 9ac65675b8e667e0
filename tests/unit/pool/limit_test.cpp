// SPDX-License-Identifier: BSD-3-Clause
// The limit bounds the living resources at every instant, also those that close themselves only in their destructor.
#include "support/catch.hpp"

#include <kombu/pool/resource_pool.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using kombu::ResourceFactory;
using kombu::ResourcePool;

namespace {

/// A resource whose life ends in its destructor, and a count of those alive.
struct Alive {
    std::atomic<int> count{0}, most{0};
};
class Guarded {
public:
    explicit Guarded(Alive& alive) : alive_(alive) {
        const int now = ++alive_.count;
        for (int most = alive_.most; now > most && !alive_.most.compare_exchange_weak(most, now);) {
        }
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() {
        std::this_thread::yield();
        --alive_.count;
    }
    std::atomic<bool> dead{false};

private:
    Alive& alive_;
};

ResourceFactory<Guarded> factory_of(Alive& alive) {
    ResourceFactory<Guarded> factory;
    factory.create = [&alive](const kombu::Acquisition&) { return std::make_shared<Guarded>(alive); };
    return factory;
}

/// Four threads that end each of their leases in the same way, at limit 1.
void end_leases(ResourcePool<Guarded>& pool, const std::function<void(kombu::Lease<Guarded>)>& end) {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 500; ++i) end(pool.acquire({.block = true, .timeout = 60s}));
        });
}

}  // namespace

TEST_CASE("a discarded resource is destroyed before its slot is free", "[pool][limit]") {
    Alive alive;
    ResourcePool<Guarded> pool{factory_of(alive), {.limit = 1}};
    end_leases(pool, [](kombu::Lease<Guarded> lease) { lease.discard(); });
    CHECK(alive.most == 1);
    CHECK(alive.count == 0);
}

TEST_CASE("a resource whose lease an exception ended is destroyed before its slot is free", "[pool][limit]") {
    Alive alive;
    ResourcePool<Guarded> pool{factory_of(alive), {.limit = 1}};
    end_leases(pool, [](kombu::Lease<Guarded> lease) {
        try {
            const auto held = std::move(lease);
            throw std::runtime_error("work failed");
        } catch (const std::runtime_error&) {
        }
    });
    CHECK(alive.most == 1);
}

TEST_CASE("a resource that recycle does not keep is destroyed before its slot is free", "[pool][limit]") {
    Alive alive;
    auto factory = factory_of(alive);
    factory.recycle = [](Guarded&, bool) { return false; };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 1}};
    end_leases(pool, [](kombu::Lease<Guarded>) {});
    CHECK(alive.most == 1);
}

TEST_CASE("a resource that prepare finds dead is destroyed before another is created", "[pool][limit]") {
    Alive alive;
    auto factory = factory_of(alive);
    factory.prepare = [](Guarded& resource, const kombu::Acquisition&) { return !resource.dead; };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 1}};
    end_leases(pool, [](kombu::Lease<Guarded> lease) { lease->dead = true; });
    CHECK(alive.most == 1);
}

TEST_CASE("a resource that fails its keepalive is destroyed before its slot is free", "[pool][limit]") {
    Alive alive;
    auto factory = factory_of(alive);
    factory.keepalive = [](Guarded&, kombu::Deadline) { return false; };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 2, .keepalive = 1ns, .maintain_in_background = false}};
    std::atomic<bool> done{false};
    std::jthread maintenance{[&] {
        while (!done) pool.maintain(kombu::Clock::now() + 1h);
    }};
    end_leases(pool, [](kombu::Lease<Guarded>) {});
    done = true;
    CHECK(alive.most <= 2);
}

TEST_CASE("idle resources that a reset or a smaller limit removes count until they are destroyed", "[pool][limit]") {
    Alive alive;
    ResourcePool<Guarded> pool{factory_of(alive), {.limit = 1}};
    std::atomic<bool> done{false};
    std::jthread resizer{[&] {
        while (!done) {
            if (auto idle = pool.acquire_idle()) continue;
            pool.resize(1, {.ignore_errors = true});
        }
    }};
    // A lease that is orphaned does not count, so only idle resources are reset here.
    for (int i = 0; i < 2000; ++i) {
        pool.acquire({.block = true, .timeout = 60s}).release();
        pool.resize(0, {.ignore_errors = true});  // evicts what is idle
        pool.resize(1, {.ignore_errors = true});
    }
    done = true;
    resizer.join();
    pool.reset();
    CHECK(alive.count == 0);
}

TEST_CASE("a resource that was created for a pool closed meanwhile is destroyed before its slot is free",
          "[pool][limit]") {
    Alive alive;
    ResourcePool<Guarded>* self = nullptr;
    std::size_t unfinished = 0;
    auto factory = factory_of(alive);
    factory.create = [&](const kombu::Acquisition&) {
        auto created = std::make_shared<Guarded>(alive);
        self->close();
        return created;
    };
    factory.close = [&](Guarded&) { unfinished = self->close_and_wait(0s) + self->stats().closing; };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 1}};
    self = &pool;
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    CHECK(unfinished == 2);  // one slot, which both count
    CHECK(pool.close_and_wait(0s) == 0);
    CHECK(pool.stats().closing == 0);
}

TEST_CASE("a resource found dead on a pool closed meanwhile is destroyed before its slot is free", "[pool][limit]") {
    Alive alive;
    ResourcePool<Guarded>* self = nullptr;
    std::size_t unfinished = 0;
    auto factory = factory_of(alive);
    factory.prepare = [&](Guarded& resource, const kombu::Acquisition&) {
        if (resource.dead) self->close();
        return !resource.dead;
    };
    factory.close = [&](Guarded&) { unfinished = self->stats().closing; };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 1}};
    self = &pool;
    pool.acquire()->dead = true;
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    CHECK(unfinished == 1);
    CHECK(alive.count == 0);
    CHECK(pool.close_and_wait(0s) == 0);
}
