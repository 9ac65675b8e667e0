// SPDX-License-Identifier: BSD-3-Clause
// Invariants of the pool on its fast path under concurrent operations. KOMBU_TEST_OPERATIONS is their number.
#include "support/catch.hpp"
#include "support/scripted_factory.hpp"

#include <kombu/pool/resource_pool.hpp>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

long operations() {
    const char* const wanted = std::getenv("KOMBU_TEST_OPERATIONS");
    return wanted ? std::atol(wanted) : 1'000'000;
}

/// The latest violation that any thread has reported.
class Verdict {
public:
    void require(bool condition, const char* what) noexcept {
        if (!condition) violation_.store(what, std::memory_order_relaxed);
    }
    std::string text() const {
        const char* const violation = violation_.load();
        return violation ? violation : "";
    }

private:
    std::atomic<const char*> violation_{nullptr};
};

template <class Work>
void in_threads(int threads, Work work) {
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) all.emplace_back([&work, i] { work(i); });
    for (auto& thread : all) thread.join();
}

/// Checks during its lifetime that the resource has one user and is not closed.
class ExclusiveUse {
public:
    ExclusiveUse(Thing& thing, Verdict& verdict) : thing_(thing) {
        verdict.require(thing.users.fetch_add(1, std::memory_order_relaxed) == 0, "a resource has two users");
        verdict.require(thing.closed.load(std::memory_order_relaxed) == 0, "a closed resource was leased");
    }
    ~ExclusiveUse() { thing_.users.fetch_sub(1, std::memory_order_relaxed); }
    ExclusiveUse(const ExclusiveUse&) = delete;
    ExclusiveUse& operator=(const ExclusiveUse&) = delete;

private:
    Thing& thing_;
};

}  // namespace

TEST_CASE("every caller gets exclusive use within the limit, for all numbers of threads and slots", "[stress]") {
    // Kernels without membarrier are simulated by not using it.
    detail::prepare_fences();
    const bool has_membarrier = detail::process.membarrier;
    const bool uses_membarrier = GENERATE(true, false);
    detail::process.membarrier = uses_membarrier && has_membarrier;
    const auto [threads, limit] =
        GENERATE(table<int, std::size_t>({{2, 1}, {4, 4}, {16, 16}, {16, 8}, {16, 3}, {3, 2}}));
    ScriptedFactory factory;
    Verdict verdict;
    std::atomic<std::size_t> leased{0};
    const long each = operations() / 12 / threads;
    {
        ResourcePool<Thing> pool{factory.plain_hooks(), {.limit = limit}};
        std::atomic<bool> done{false};
        std::thread sampler{[&] {
            std::uint64_t acquired = 0;
            while (!done) {
                const PoolStats stats = pool.stats();
                verdict.require(stats.in_use + stats.idle + stats.connecting + stats.closing <= limit,
                                "a snapshot shows more than the limit");
                verdict.require(stats.acquired >= acquired, "a counter went back");
                acquired = stats.acquired;
                std::this_thread::yield();
            }
        }};
        in_threads(threads, [&](int number) {
            std::minstd_rand random{static_cast<unsigned>(number + 1)};
            for (long i = 0; i < each; ++i) {
                auto lease = pool.acquire({.block = true});
                verdict.require(leased.fetch_add(1, std::memory_order_relaxed) < limit, "more leases than the limit");
                {
                    const ExclusiveUse owner{*lease, verdict};
                    if (random() % 1024 == 0) std::this_thread::yield();
                }
                leased.fetch_sub(1, std::memory_order_relaxed);
                if (random() % 512 == 0)
                    lease.discard();
                else if (random() % 4096 == 0)
                    (void)lease.detach();
            }
        });
        done = true;
        sampler.join();
        const PoolStats stats = pool.stats();
        CHECK(stats.in_use == 0);
        CHECK(stats.waiting == 0);
        CHECK(stats.connecting + stats.closing == 0);
        CHECK(stats.idle <= limit);
        CHECK(stats.acquired == static_cast<std::uint64_t>(each) * static_cast<std::uint64_t>(threads));
    }
    detail::process.membarrier = has_membarrier;
    CHECK(verdict.text() == "");
    CHECK(static_cast<std::size_t>(factory.most_live()) <=
          limit + static_cast<std::size_t>(each * threads / 4096 + 100));
}

TEST_CASE("resets, limit changes and maintenance run beside the fast path without violations", "[stress]") {
    ScriptedFactory factory;
    Verdict verdict;
    std::atomic<long> served{0};
    const long each = operations() / 20 / 8;
    {
        ResourcePool<Thing> pool{
            factory.plain_hooks(),
            {.limit = 8, .preload = 2, .max_lifetime = 5ms, .leak_threshold = 1h, .maintain_in_background = true}};
        in_threads(8, [&](int number) {
            std::minstd_rand random{static_cast<unsigned>(number + 1)};
            for (long i = 0; i < each; ++i) {
                const auto dice = random() % 1000;
                if (dice == 0) pool.reset();
                if (dice == 1) pool.resize(4 + random() % 8, {.ignore_errors = true});
                if (dice == 2) pool.resize(4 + random() % 8, {.force = true});
                if (dice == 3) (void)pool.acquire_idle();
                if (dice == 4) pool.maintain();
                if (dice == 5) pool.resize(0);
                Lease<Thing> lease;
                try {
                    lease = dice % 2 ? pool.acquire({.block = true, .timeout = 10s}) : pool.try_acquire();
                } catch (const LimitExceeded&) {
                    verdict.require(false, "a caller waited for ten seconds");
                }
                if (!lease) continue;
                ++served;
                const ExclusiveUse owner{*lease, verdict};
                if (dice % 7 == 0) lease.get();
            }
        });
        const PoolStats stats = pool.stats();
        CHECK(stats.in_use == 0);
        CHECK(stats.waiting == 0);
    }
    CHECK(served > each);
    CHECK(verdict.text() == "");
    CHECK(factory.live() == 0);
    CHECK_FALSE(factory.closed_twice);
}

TEST_CASE("leases that outlive their pools do not release into other pools", "[stress]") {
    ScriptedFactory factory;
    Verdict verdict;
    in_threads(8, [&](int number) {
        std::minstd_rand random{static_cast<unsigned>(number + 1)};
        std::vector<Lease<Thing>> kept;
        for (long i = 0; i < operations() / 2000; ++i) {
            ResourcePool<Thing> pool{factory.plain_hooks(), {.limit = 3}};
            kept.push_back(pool.acquire());
            for (int use = 0; use < 3; ++use) {
                auto lease = pool.acquire();
                const ExclusiveUse owner{*lease, verdict};
            }
            if (kept.size() > 5) kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(random() % kept.size()));
        }
    });
    CHECK(verdict.text() == "");
    CHECK(factory.live() == 0);
    CHECK_FALSE(factory.closed_twice);
}
