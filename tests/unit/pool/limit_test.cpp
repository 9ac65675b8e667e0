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

TEST_CASE("close_and_wait waits for the leases and says how many are not back", "[pool][close]") {
    Alive alive;
    ResourcePool<Guarded> pool{factory_of(alive), {.limit = 3}};
    auto first = pool.acquire(), second = pool.acquire();
    pool.acquire().release();
    CHECK(pool.close_and_wait(0s) == 2);
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    CHECK(alive.count == 2);
    std::jthread holder{[lease = std::move(first)]() mutable {
        std::this_thread::yield();
        lease.release();
    }};
    second.detach();
    CHECK(pool.close_and_wait() == 0);
    holder.join();
    CHECK(alive.count == 0);
}

TEST_CASE("a pool that was closed works again after a reset", "[pool][close]") {
    Alive alive;
    ResourcePool<Guarded> pool{factory_of(alive), {.limit = 1}};
    pool.acquire().release();
    pool.force_close_all();
    REQUIRE_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    pool.reset();
    CHECK(pool.acquire());
    CHECK(pool.stats().limit == 1);
}

TEST_CASE("evict_if closes the idle resources that the predicate chooses", "[pool][evict]") {
    Alive alive;
    ResourcePool<Guarded> pool{factory_of(alive), {.limit = 4}};
    auto held = pool.acquire();
    held->dead = true;
    {
        auto one = pool.acquire(), two = pool.acquire(), three = pool.acquire();
        two->dead = true;
    }
    CHECK(pool.evict_if([](const Guarded& resource) { return resource.dead.load(); }) == 1);
    CHECK(alive.count == 3);
    CHECK(pool.stats().closed_for(kombu::CloseReason::evicted) == 1);
    CHECK_THROWS_WITH(pool.evict_if([](Guarded&) -> bool { throw std::runtime_error("look"); }), "look");
    CHECK(pool.stats().idle == 2);
}

TEST_CASE("resets during a slow create do not prolong the acquire beyond its deadline", "[pool][deadline]") {
    Alive alive;
    ResourcePool<Guarded>* self = nullptr;
    auto factory = factory_of(alive);
    int creates = 0;
    factory.create = [&](const kombu::Acquisition& acquisition) {
        ++creates;
        auto made = std::make_shared<Guarded>(alive);
        self->reset();
        while (!acquisition.deadline.expired()) std::this_thread::yield();
        return made;
    };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 1}};
    self = &pool;
    CHECK_THROWS_AS(pool.acquire({.block = true, .timeout = 1ms}), kombu::LimitExceeded);
    CHECK(creates == 1);
    CHECK(alive.count == 0);
    CHECK(pool.stats().connecting == 0);
}

TEST_CASE("a keepalive does not take the last free resource of a full pool", "[pool][maintenance]") {
    Alive alive;
    auto factory = factory_of(alive);
    ResourcePool<Guarded>* self = nullptr;
    bool lent = true;
    factory.keepalive = [&](Guarded&, kombu::Deadline) {
        lent = static_cast<bool>(self->acquire());
        return true;
    };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 2, .keepalive = 1ns, .maintain_in_background = false}};
    self = &pool;
    { auto one = pool.acquire(), two = pool.acquire(); }
    CHECK_NOTHROW(pool.maintain(kombu::Clock::now() + 1h));
    CHECK(lent);
    auto held = pool.acquire();
    pool.maintain(kombu::Clock::now() + 2h);  // one is free: it is left alone
    CHECK(pool.acquire());
}

TEST_CASE("an error of last_error or interrupt neither ends the process nor replaces LimitExceeded", "[pool]") {
    Alive alive;
    auto factory = factory_of(alive);
    factory.last_error = []() -> std::string { throw std::runtime_error("last_error"); };
    factory.interrupt = [](Guarded&) { throw std::runtime_error("interrupt"); };
    ResourcePool<Guarded> pool{std::move(factory), {.limit = 1}};
    auto held = pool.acquire();
    CHECK_THROWS_AS(pool.acquire(), kombu::LimitExceeded);
    pool.reset();
}

TEST_CASE("a lease that was reported as leaked is reported when it ends after all", "[pool][observer]") {
    struct Observer : kombu::PoolObserver {
        int leaks = 0, ends = 0;
        unsigned line = 0;
        void leaked(const kombu::LeakReport& report) override {
            ++leaks;
            line = report.lease.line;
        }
        void leak_ended(const kombu::LeakReport& report) override {
            ++ends;
            CHECK(report.lease.line == line);
        }
    };
    Alive alive;
    const auto observer = std::make_shared<Observer>();
    ResourcePool<Guarded> pool{
        factory_of(alive), {.limit = 1, .leak_threshold = 1s, .observer = observer, .maintain_in_background = false}};
    auto lease = pool.acquire();
    pool.maintain(kombu::Clock::now() + 1h);
    CHECK(observer->leaks == 1);
    lease.release();
    CHECK(observer->ends == 1);
    pool.acquire().release();
    CHECK(observer->ends == 1);
    CHECK(pool.stats().leaks_ended == 1);
}

template <class Lease>
concept DereferencedAsTemporary = requires(Lease lease) {
    *std::move(lease);
};
template <class Lease>
concept GotFromTemporary = requires(Lease lease) {
    std::move(lease).get();
};
static_assert(!DereferencedAsTemporary<kombu::Lease<Guarded>> && !GotFromTemporary<kombu::Lease<Guarded>>,
              "a reference to the resource of a temporary lease would outlive the lease");
