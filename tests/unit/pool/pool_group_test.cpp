// SPDX-License-Identifier: BSD-3-Clause
// The behaviours G9 to G16 of Kombu's pool groups, on stub resources; those of producers are in pools_test.cpp.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/scripted_factory.hpp"

#include <kombu/pool/pool_group.hpp>

#include <future>
#include <latch>
#include <optional>
#include <set>
#include <thread>

using kombu::GroupRegistry;
using kombu::UseGlobalLimit;

namespace {

using Pool = kombu::ResourcePool<Thing>;
using Group = kombu::PoolGroup<std::string, Pool>;

struct Fixture {
    ScriptedFactory factory;
    Group::Create create = [this](const std::string& name, const kombu::PoolOptions& options) {
        ++pools_created;
        kombu::PoolOptions own = options;
        own.name = name;
        return std::make_unique<Pool>(factory.hooks(), own);
    };
    std::atomic<int> pools_created{0};
};

}  // namespace

TEST_CASE("G9 a group that cannot create pools is refused", "[group]") {
    CHECK_THROWS_AS(Group(nullptr), kombu::ConfigurationError);
}

TEST_CASE_METHOD(Fixture, "G10 a group's pools get its own limit, or that of its registry", "[group]") {
    GroupRegistry registry{7};
    Group own{create, 3};
    Group follower{create, UseGlobalLimit{}, &registry};
    CHECK(own["a"].limit() == 3);
    CHECK(follower["a"].limit() == 7);
    CHECK_THROWS_AS(Group(create, UseGlobalLimit{}), kombu::ConfigurationError);
}

TEST_CASE_METHOD(Fixture, "G11 an erased key gets a new pool, and leases of the old one stay valid", "[group]") {
    Group group{create, 1};
    auto lease = group["a"].acquire();
    CHECK(group.erase("a"));
    CHECK_FALSE(group.erase("a"));
    CHECK(group.size() == 0);
    CHECK(lease->closed == 0);
    CHECK(group["a"].in_use() == 0);
}

TEST_CASE_METHOD(Fixture, "G13 equal keys share one pool, different ones do not", "[group]") {
    Group group{create, 1};
    CHECK(&group["a"] == &group["a"]);
    CHECK(&group["a"] != &group["b"]);
    CHECK(group.size() == 2);
}

TEST_CASE_METHOD(Fixture, "G14 a reset empties the pools of registered groups, which work on", "[group]") {
    GroupRegistry registry{2};
    Group registered{create, 2}, other{create, 2};
    registry.add(registered);
    Pool& pool = registered["a"];
    auto lease = pool.acquire();
    auto untouched = other["a"].acquire();
    registry.reset();
    CHECK(pool.in_use() == 0);
    CHECK(other["a"].in_use() == 1);
    CHECK(&registered["a"] == &pool);
    CHECK_NOTHROW(pool.acquire());
}

TEST_CASE_METHOD(Fixture, "G15 the limit changes in every pool that follows it or in none", "[group]") {
    GroupRegistry registry{10};
    Group first{create, UseGlobalLimit{}, &registry}, second{create, UseGlobalLimit{}, &registry}, own{create, 5};
    registry.add(own);
    (void)first["idle"];
    auto held = second["busy"].acquire();
    own["x"].acquire().release();

    CHECK_THROWS_AS(registry.set_limit(4), kombu::PoolInUse);
    CHECK(registry.limit() == 10);
    CHECK(first["idle"].limit() == 10);
    CHECK(second["busy"].limit() == 10);
    CHECK(first["new"].limit() == 10);

    SECTION("growing is always possible") {
        registry.set_limit(20);
        CHECK(second["busy"].limit() == 20);
        CHECK(first["another"].limit() == 20);
    }
    SECTION("shrinking softly") {
        registry.set_limit(4, {.ignore_errors = true});
        CHECK(second["busy"].limit() == 4);
        CHECK(second["busy"].in_use() == 1);
    }
    SECTION("shrinking by force") {
        registry.set_limit(4, {.force = true});
        CHECK(second["busy"].in_use() == 0);
        CHECK(held->interrupted == 1);
    }
    SECTION("the same limit with reset still resets") {
        registry.set_limit(10, {.reset = true});
        CHECK(second["busy"].in_use() == 0);
    }
    CHECK(own["x"].limit() == 5);
}

TEST_CASE_METHOD(Fixture, "G16 a pool of a group can be unlimited while in use", "[group]") {
    Group group{create, 1};
    auto held = group["a"].acquire();
    CHECK_NOTHROW(group["a"].resize(0));
    CHECK_NOTHROW(group["a"].acquire());
}

TEST_CASE_METHOD(Fixture, "a group leaves its registry when it is destroyed", "[group]") {
    GroupRegistry registry{10};
    {
        Group group{create, UseGlobalLimit{}, &registry};
        registry.add(group);
        (void)group["a"];
    }
    registry.set_limit(5);
    registry.reset();
    CHECK(registry.limit() == 5);
}

TEST_CASE_METHOD(Fixture, "a group belongs to one registry", "[group]") {
    GroupRegistry one{10}, other{10};
    Group group{create, 1};
    one.add(group);
    one.add(group);
    CHECK_THROWS_AS(other.add(group), kombu::ConfigurationError);
}

TEST_CASE("the close hook of a resource may use the registry", "[group]") {
    GroupRegistry registry{2};
    Group group{[&](const std::string&, const kombu::PoolOptions& options) {
                    kombu::ResourceFactory<Thing> hooks;
                    hooks.create = [](kombu::Deadline) { return std::make_shared<Thing>(1); };
                    hooks.close = [&](Thing&) { (void)registry.limit(); };
                    return std::make_unique<Pool>(hooks, options);
                },
                UseGlobalLimit{}, &registry};
    registry.add(group);
    group["a"].acquire().release();
    registry.reset();
    group["a"].acquire().release();
    registry.set_limit(1, {.reset = true});
    CHECK(group["a"].stats().closed == 2);
}

TEST_CASE_METHOD(Fixture, "a pool that cannot be created is not stored, and is tried again", "[group]") {
    bool fail = true;
    Group group{[&](const std::string& name, const kombu::PoolOptions& options) {
                    if (fail) throw std::runtime_error("not yet");
                    return create(name, options);
                },
                1};
    CHECK_THROWS_WITH(group["a"], "not yet");
    CHECK(group.size() == 0);
    fail = false;
    CHECK_NOTHROW(group["a"]);
}

TEST_CASE_METHOD(Fixture, "sixteen threads that touch a key at once get one pool", "[group][threads]") {
    for (int round = 0; round < 200; ++round) {
        Group group{create, 1};
        pools_created = 0;
        std::latch start{16};
        std::vector<std::future<Pool*>> seen;
        for (int i = 0; i < 16; ++i)
            seen.push_back(std::async(std::launch::async, [&] {
                start.arrive_and_wait();
                return &group["first touch"];
            }));
        std::set<Pool*> pools;
        for (auto& pool : seen) pools.insert(pool.get());
        REQUIRE(pools.size() == 1);
        REQUIRE(pools_created == 1);
    }
}

TEST_CASE_METHOD(Fixture, "a key can have options of its own, which a change of the group's limit leaves alone",
                 "[group]") {
    GroupRegistry registry{7};
    Group group{create, UseGlobalLimit{}, &registry};
    registry.add(group);
    group.configure("own", {.limit = 3, .max_waiters = 1});
    group.configure("waiters", {.max_waiters = 1});
    CHECK(group["own"].limit() == 3);
    CHECK(group["waiters"].limit() == 7);
    CHECK(group["other"].limit() == 7);
    registry.set_limit(9);
    CHECK(group["own"].limit() == 3);
    CHECK(group["waiters"].limit() == 9);
    CHECK_THROWS_AS(group.configure("own", {.limit = 4}), kombu::PoolInUse);
    group.erase("own");
    CHECK(group["own"].limit() == 3);  // the options outlive an erase
    group.erase("own");
    group.configure("own", {.limit = 4});
    CHECK(group["own"].limit() == 4);
}

TEST_CASE_METHOD(Fixture, "a group's own options go to every pool that is not configured", "[group]") {
    Group group{create, 2, nullptr, {.preload = 1, .maintain_in_background = false}};
    group["a"].maintain();
    CHECK(group["a"].stats().idle == 1);
    group.configure("b", {.maintain_in_background = false});
    group["b"].maintain();
    CHECK(group["b"].stats().idle == 0);
}

TEST_CASE_METHOD(Fixture, "for_each visits every pool, which may erase them", "[group]") {
    Group group{create, 1};
    for (const char* key : {"a", "b", "c"}) group[key].acquire().release();
    std::set<std::string> seen;
    group.for_each([&](const std::string& key, Pool& pool) {
        CHECK(group.erase(key));
        CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
        seen.insert(key);
    });
    CHECK(seen == std::set<std::string>{"a", "b", "c"});
    CHECK(group.size() == 0);
    CHECK(factory.live() == 0);
}

TEST_CASE_METHOD(Fixture, "the statistics of a registry are those of all its pools", "[group]") {
    GroupRegistry registry{7};
    Group one{create, 1}, two{create, 2}, unregistered{create, 3};
    registry.add(one);
    registry.add(two);
    auto lease = one["a"].acquire();
    (void)two["b"];
    (void)unregistered["c"];
    std::set<std::string> names;
    std::size_t in_use = 0;
    for (const kombu::PoolStats& stats : registry.stats()) {
        names.insert(stats.name);
        in_use += stats.in_use;
    }
    CHECK(names == std::set<std::string>{"a", "b"});
    CHECK(in_use == 1);
    CHECK(unregistered.stats().size() == 1);
}

TEST_CASE_METHOD(Fixture, "a repeated look-up finds the pool of its key, and never a destroyed one", "[group]") {
    const std::string long_key(200, 'x');
    std::optional<Group> group{std::in_place, create, 1};
    for (int round = 0; round < 3; ++round) {
        Pool& a = (*group)["a"];
        Pool& b = (*group)["b"];
        Pool& none = (*group)[""];
        Pool& huge = (*group)[long_key];
        CHECK(std::set<Pool*>{&a, &b, &none, &huge}.size() == 4);
        for (int i = 0; i < 3; ++i) {
            CHECK(&(*group)["a"] == &a);
            CHECK(&(*group)["b"] == &b);
            CHECK(&(*group)[""] == &none);
            CHECK(&(*group)[long_key] == &huge);
        }
        if (round == 0) {
            const int made = pools_created;
            group->erase("a");
            (void)(*group)["a"];
            CHECK(pools_created == made + 1);
        } else {
            const int made = pools_created;
            group.emplace(create, 1);
            (void)(*group)["a"];
            CHECK(pools_created == made + 1);
        }
    }
}

TEST_CASE_METHOD(Fixture, "callers that wait when their group is destroyed get PoolClosed, and leases stay valid",
                 "[group][threads]") {
    std::optional<Group> group{std::in_place, create, 1};
    auto lease = (*group)["a"].acquire();
    Pool& pool = (*group)["a"];
    std::vector<std::future<void>> waiting;
    for (int i = 0; i < 8; ++i)
        waiting.push_back(std::async(std::launch::async, [&] { (void)pool.acquire({.block = true}); }));
    REQUIRE(eventually([&] { return pool.stats().waiting == 8; }));
    group.reset();
    for (auto& call : waiting) CHECK_THROWS_AS(call.get(), kombu::PoolClosed);
    CHECK(lease->closed == 0);
    lease.release();
    CHECK(factory.live() == 0);
}

namespace {

/// Keys with the same text and different tenants are different.
struct TenantKey {
    std::string url;
    int tenant = 0;
    operator std::string_view() const { return url; }
    friend bool operator==(const TenantKey&, const TenantKey&) = default;
};

}  // namespace

template <>
struct std::hash<TenantKey> {
    std::size_t operator()(const TenantKey& key) const { return std::hash<std::string>{}(key.url); }
};

TEST_CASE_METHOD(Fixture, "keys that only convert to the same text have pools of their own", "[group]") {
    kombu::PoolGroup<TenantKey, Pool> group{[this](const TenantKey&, const kombu::PoolOptions& options) {
                                                return std::make_unique<Pool>(factory.hooks(), options);
                                            },
                                            1};
    Pool& one = group[{"amqp://", 1}];
    Pool& two = group[{"amqp://", 2}];
    CHECK(&one != &two);
    CHECK(&group[{"amqp://", 1}] == &one);
}

TEST_CASE_METHOD(Fixture, "the close hook of an erased pool may read the statistics", "[group]") {
    GroupRegistry registry{2};
    Group group{[&](const std::string&, const kombu::PoolOptions& options) {
                    auto hooks = factory.plain_hooks();
                    hooks.close = [&](Thing&) { (void)registry.stats(); };
                    return std::make_unique<Pool>(hooks, options);
                },
                UseGlobalLimit{}, &registry};
    registry.add(group);
    group["a"].acquire().release();
    CHECK(group.erase("a"));
    CHECK(registry.stats().empty());
}

TEST_CASE_METHOD(Fixture, "a caller between look-up and use gets PoolClosed when the key is erased", "[group]") {
    Group group{create, 1};
    Pool& pool = group["a"];
    group.erase("a");
    CHECK_THROWS_AS(pool.acquire(), kombu::PoolClosed);
    for (int i = 0; i < 200; ++i) {
        (void)group["b"];
        group.erase("b");
    }
    CHECK(group.size() == 0);
}

TEST_CASE_METHOD(Fixture, "text keys of one length and long ones do not displace each other's look-ups", "[group]") {
    Group group{create, 1};
    std::vector<std::string> keys;
    for (const std::size_t length : {20U, 20U, 20U, 200U, 200U, 200U}) {
        keys.push_back(std::string(length, 'k'));
        keys.back()[keys.size()] = '#';
    }
    std::vector<Pool*> pools;
    for (const std::string& key : keys) pools.push_back(&group[key]);
    for (std::size_t i = 0; i < keys.size(); ++i) CHECK(&group[keys[i]] == pools[i]);
    CHECK(std::set<Pool*>(pools.begin(), pools.end()).size() == keys.size());
    CHECK(group.erase(keys[4]));
    Pool& fresh = group[keys[4]];
    CHECK(&group[keys[4]] == &fresh);
    CHECK(&group[keys[3]] == pools[3]);
    CHECK(pools_created == 7);
}

TEST_CASE_METHOD(Fixture, "a group with very many keys finds each of them", "[group]") {
    kombu::PoolGroup<int, Pool> group{[this](int, const kombu::PoolOptions& options) {
        return std::make_unique<Pool>(factory.plain_hooks(), options);
    }};
    constexpr int count = 20'000;
    std::vector<Pool*> pools;
    for (int key = 0; key < count; ++key) pools.push_back(&group[key]);
    for (int key = 0; key < count; key += 7) CHECK(&group[key] == pools[static_cast<std::size_t>(key)]);
    for (int key = 0; key < count; key += 2) CHECK(group.erase(key));
    CHECK(group.size() == count / 2);
}

TEST_CASE_METHOD(Fixture, "close_and_wait closes every pool of a group and counts what is not back", "[group]") {
    GroupRegistry registry{2};
    Group group{create, UseGlobalLimit{}, &registry};
    registry.add(group);
    auto a = group["a"].acquire(), b = group["b"].acquire();
    CHECK(group.close_and_wait(std::chrono::milliseconds{0}) == 2);
    a.release();
    CHECK(registry.close_and_wait(std::chrono::milliseconds{0}) == 1);
    b.release();
    CHECK(registry.close_and_wait() == 0);
    CHECK_THROWS_AS(group["a"].acquire(), kombu::PoolClosed);
    registry.reset();
    CHECK(group["a"].acquire());
}
