// SPDX-License-Identifier: BSD-3-Clause
// Every allocation of every operation on pools, groups and registries fails in turn. After each failure the invariants
// hold, and the pool works.
#include "support/catch.hpp"

#include <kombu/pool/pool_group.hpp>
#include <kombu/pool/resource_pool.hpp>

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace {

/// The number of allocations of this thread that still succeed; negative: all.
thread_local long allocations_left = -1;

void* allocate(std::size_t size, std::size_t alignment) {
    if (allocations_left == 0) return nullptr;
    if (allocations_left > 0) --allocations_left;
    return alignment <= alignof(std::max_align_t)
               ? std::malloc(size == 0 ? 1 : size)
               : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
void* allocate_or_throw(std::size_t size, std::size_t alignment) {
    if (void* const memory = allocate(size, alignment)) return memory;
    throw std::bad_alloc{};
}

std::atomic<bool> no_threads{false};

}  // namespace

/// Replaces that of libc, which the standard library calls.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* data) {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const auto create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
    return no_threads ? EAGAIN : create(thread, attributes, start, data);
}

void* operator new(std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

using Pool = kombu::ResourcePool<int>;
using Group = kombu::PoolGroup<std::string, Pool>;

int living = 0;

kombu::ResourceFactory<int> counted() {
    kombu::ResourceFactory<int> factory;
    factory.create = [](const kombu::Acquisition&) {
        auto made = std::shared_ptr<int>{new int{++living}, [](const int* resource) {
                                             --living;
                                             delete resource;
                                         }};
        return made;
    };
    return factory;
}

/// The pool has capacity for exactly `limit` resources, and they are the only ones.
void check_works(Pool& pool, std::size_t limit) {
    CHECK(pool.limit() == limit);
    std::vector<kombu::Lease<int>> leases;
    for (std::size_t i = 0; i < limit; ++i) leases.push_back(pool.acquire());
    CHECK_THROWS_AS(pool.acquire(), kombu::LimitExceeded);
    const auto stats = pool.stats();
    CHECK(stats.in_use == limit);
    CHECK(stats.idle + stats.connecting + stats.closing + stats.waiting == 0);
    CHECK(living == static_cast<int>(limit));
}

/// Runs `operation` with its first allocation failing, then with its second, and so on, until it has all it needs.
/// `make` makes what it works on; `check` is called after each run, with whether the operation succeeded.
template <class Subject>
void fail_each_allocation(const std::function<std::unique_ptr<Subject>()>& make,
                          const std::function<void(Subject&)>& operation,
                          const std::function<void(Subject&, bool)>& check) {
    for (long failing = 0;; ++failing) {
        CAPTURE(failing);
        REQUIRE(failing < 1000);
        {
            const auto subject = make();
            bool succeeded = true, ran_out = false;
            allocations_left = failing;
            try {
                operation(*subject);
            } catch (const std::bad_alloc&) {
                succeeded = false;
            }
            ran_out = allocations_left == 0;
            allocations_left = -1;
            check(*subject, succeeded);
            if (succeeded && !ran_out) return;
        }
        CHECK(living == 0);
    }
}

std::unique_ptr<Pool> pool_of_three() { return std::make_unique<Pool>(counted(), kombu::PoolOptions{.limit = 3}); }
std::unique_ptr<Pool> used_pool_of_three() {
    auto pool = pool_of_three();
    auto a = pool->acquire(), b = pool->acquire(), c = pool->acquire();
    return pool;
}

}  // namespace

TEST_CASE("an acquire that lacks memory leaves the pool as it was", "[pool][allocation]") {
    fail_each_allocation<Pool>(
        pool_of_three, [](Pool& pool) { auto lease = pool.acquire({.block = true}); },
        [](Pool& pool, bool) { check_works(pool, 3); });
}

TEST_CASE("an acquire on a full pool that lacks memory for its report leaves the pool as it was",
          "[pool][allocation]") {
    fail_each_allocation<Pool>(
        used_pool_of_three,
        [](Pool& pool) {
            kombu::Lease<int> held[] = {pool.acquire(), pool.acquire(), pool.acquire()};
            // Without Catch2, which allocates.
            for (const kombu::AcquireOptions& options :
                 {kombu::AcquireOptions{}, {.block = true, .timeout = std::chrono::milliseconds{1}}}) {
                try {
                    (void)pool.acquire(options);
                } catch (const kombu::LimitExceeded&) {
                }
            }
        },
        [](Pool& pool, bool) { check_works(pool, 3); });
}

TEST_CASE("reset, close and destruction need no memory", "[pool][allocation]") {
    for (const bool close : {false, true}) {
        auto pool = used_pool_of_three();
        auto held = pool->acquire();
        allocations_left = 0;
        close ? pool->force_close_all() : pool->reset();
        held.release();
        close ? pool->close() : pool->reset();
        allocations_left = -1;
        CHECK(living == 0);
        pool->reset();
        check_works(*pool, 3);
        held = pool->acquire();
        allocations_left = 0;
        pool.reset();
        held.discard();
        allocations_left = -1;
        CHECK(living == 0);
    }
}

TEST_CASE("a resize that lacks memory has changed nothing", "[pool][allocation]") {
    for (const std::size_t limit : {std::size_t{1}, std::size_t{5}})
        for (const bool reset : {false, true})
            fail_each_allocation<Pool>(
                used_pool_of_three, [&](Pool& pool) { pool.resize(limit, {.reset = reset}); },
                [&](Pool& pool, bool succeeded) { check_works(pool, succeeded ? limit : 3); });
}

TEST_CASE("maintenance that lacks memory loses no resource", "[pool][allocation]") {
    fail_each_allocation<Pool>(
        [] {
            auto pool =
                std::make_unique<Pool>(counted(), kombu::PoolOptions{.limit = 3,
                                                                     .preload = 1,
                                                                     .idle_timeout = std::chrono::nanoseconds{1},
                                                                     .keepalive = std::chrono::nanoseconds{1},
                                                                     .maintain_in_background = false});
            auto a = pool->acquire(), b = pool->acquire(), c = pool->acquire();
            return pool;
        },
        [](Pool& pool) { pool.maintain(kombu::Clock::now() + std::chrono::hours{1}); },
        [](Pool& pool, bool) { check_works(pool, 3); });
}

TEST_CASE("warm_up, evict_if and stats that lack memory leave the pool consistent", "[pool][allocation]") {
    fail_each_allocation<Pool>(
        pool_of_three,
        [](Pool& pool) {
            pool.warm_up(2);
            (void)pool.evict_if([](int) { return true; });
            (void)pool.stats();
        },
        [](Pool& pool, bool) { check_works(pool, 3); });
}

namespace {

struct Groups {
    kombu::GroupRegistry registry{2};
    std::unique_ptr<Group> group = std::make_unique<Group>(
        [](const std::string&, const kombu::PoolOptions& options) {
            return std::make_unique<Pool>(counted(), options);
        },
        kombu::GroupLimit{}, &registry);
    Groups() {
        registry.add(*group);
        (*group)["a"].acquire().release();
        (*group)["b"].acquire().release();
    }
};

void check_groups(Groups& groups, std::size_t limit) {
    CHECK(groups.registry.limit() == limit);
    CHECK(groups.group->limit() == limit);
    for (const char* key : {"a", "b", "c"}) {
        Pool& pool = (*groups.group)[key];
        CHECK(pool.limit() == limit);
        pool.reset();
    }
    groups.registry.reset();
    CHECK(living == 0);
}

}  // namespace

TEST_CASE("group operations that lack memory change nothing", "[pool][group][allocation]") {
    const std::function<std::unique_ptr<Groups>()> make = [] { return std::make_unique<Groups>(); };
    const auto both = [](std::size_t otherwise, std::size_t limit) {
        return [=](Groups& groups, bool succeeded) { check_groups(groups, succeeded ? limit : otherwise); };
    };
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { groups.registry.set_limit(1); }, both(2, 1));
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { groups.registry.set_limit(4, {.reset = true}); }, both(2, 4));
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { (*groups.group)["c"].acquire().release(); }, both(2, 2));
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { groups.group->erase("a"); }, both(2, 2));
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { groups.group->configure("d", {.limit = 7}); }, both(2, 2));
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { (void)groups.registry.stats(); }, both(2, 2));
    fail_each_allocation<Groups>(
        make, [](Groups& groups) { groups.group->reset(); }, both(2, 2));
}

TEST_CASE("the reset of a registry and the destruction of a group need no memory", "[pool][group][allocation]") {
    Groups groups;
    allocations_left = 0;
    groups.registry.reset();
    allocations_left = -1;
    CHECK(living == 0);
    (*groups.group)["a"].acquire().release();
    allocations_left = 0;
    groups.group.reset();
    allocations_left = -1;
    CHECK(living == 0);
    CHECK(groups.registry.stats().empty());
}

TEST_CASE("a pool that needs the maintenance thread, and cannot have it, is refused with an error of kombu", "[pool]") {
    const kombu::PoolOptions options{.limit = 1, .idle_timeout = std::chrono::hours{1}};
    no_threads = true;
    CHECK_THROWS_AS(Pool(counted(), options), kombu::OperationalError);
    no_threads = false;
    Pool pool{counted(), options};
    CHECK(pool.acquire());
}

TEST_CASE("a pool that lacks memory for the maintenance thread leaves the signal mask as it was",
          "[pool][allocation]") {
    const auto blocked = [] {
        ::sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        int count = 0;
        for (int signal = 1; signal < NSIG; ++signal) count += ::sigismember(&mask, signal) == 1 ? 1 : 0;
        return count;
    };
    const int before = blocked();
    std::unique_ptr<Pool> pool;
    for (long failing = 0; !pool; ++failing) {
        REQUIRE(failing < 1000);
        while (kombu::detail::maintenance_thread().is_running()) std::this_thread::yield();  // of an earlier pool
        allocations_left = failing;
        try {
            pool = std::make_unique<Pool>(counted(),
                                          kombu::PoolOptions{.limit = 1, .idle_timeout = std::chrono::hours{1}});
        } catch (const std::bad_alloc&) {
        }
        allocations_left = -1;
        REQUIRE(blocked() == before);
    }
    CHECK(pool->acquire());
}

TEST_CASE("a reset that opens a closed pool needs no memory", "[pool][allocation]") {
    Pool pool{counted(), {.limit = 1, .idle_timeout = std::chrono::hours{1}}};
    pool.acquire().release();
    pool.close();
    allocations_left = 0;
    pool.reset();
    allocations_left = -1;
    CHECK(pool.acquire());
}
