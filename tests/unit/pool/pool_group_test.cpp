// The behaviours G9 to G16 of Kombu's pool groups, on stub resources; those of producers are in pools_test.cpp.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/scripted_factory.hpp"

#include <kombu/pool/pool_group.hpp>

#include <future>
#include <latch>
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
        ++pools_made;
        kombu::PoolOptions own = options;
        own.name = name;
        return std::make_unique<Pool>(factory.hooks(), own);
    };
    std::atomic<int> pools_made{0};
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

TEST_CASE("what closes a resource may use the registry", "[group]") {
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

TEST_CASE_METHOD(Fixture, "a failing create leaves no trace and is tried again", "[group]") {
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
        pools_made = 0;
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
        REQUIRE(pools_made == 1);
    }
}
