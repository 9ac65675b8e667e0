// SPDX-License-Identifier: BSD-3-Clause
// Sixteen threads run all operations at once. Under ThreadSanitizer and AddressSanitizer this tests the thread safety
// that the pools, groups and the memory broker document.
#include "support/catch.hpp"
#include "support/scripted_factory.hpp"

#include <kombu/kombu.hpp>

#include <latch>
#include <random>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

constexpr int threads = 16;

template <class Work>
void in_threads(Work work) {
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) all.emplace_back([&work, i] { work(i); });
    for (auto& thread : all) thread.join();
}

struct ExclusiveUse {
    explicit ExclusiveUse(std::atomic<int>& users) : users_(users) { alone = ++users_ == 1; }
    ~ExclusiveUse() { --users_; }
    ExclusiveUse(const ExclusiveUse&) = delete;
    ExclusiveUse& operator=(const ExclusiveUse&) = delete;
    bool alone;

private:
    std::atomic<int>& users_;
};

}  // namespace

TEST_CASE("a pool under acquire, release, discard, resize and reset keeps its invariants", "[stress]") {
    ScriptedFactory factory;
    std::atomic<bool> shared{false}, above_limit{false};
    std::atomic<long> served{0}, refused{0};
    {
        ResourcePool<Thing> pool{factory.hooks(), {.limit = 8}};
        in_threads([&](int number) {
            std::mt19937 random{static_cast<unsigned>(number + 1)};
            for (int i = 0; i < 10000; ++i) {
                const auto dice = random() % 100;
                if (dice < 2) {
                    pool.resize(4 + random() % 8, {.ignore_errors = true});
                } else if (dice < 3) {
                    pool.reset();
                } else {
                    try {
                        auto lease = pool.acquire({.block = dice % 2 == 0, .timeout = 50ms});
                        ++served;
                        {
                            const ExclusiveUse flag{lease->users};
                            if (!flag.alone) shared = true;
                            if (lease->closed != 0) shared = true;
                        }
                        if (dice < 10) lease.discard();
                        if (dice > 95) lease->dead = true;
                    } catch (const LimitExceeded&) {
                        ++refused;
                    }
                }
                const auto stats = pool.stats();
                // A soft shrink leaves what is in use, so the highest limit of all bounds the number.
                if (stats.idle + stats.in_use + stats.connecting > 11) above_limit = true;
            }
        });
        const auto stats = pool.stats();
        CHECK(stats.in_use == 0);
        CHECK(stats.waiting == 0);
        CHECK(stats.connecting == 0);
        CHECK(stats.created - stats.closed == stats.idle);
        CHECK(stats.acquired == static_cast<std::uint64_t>(served.load()));
    }
    CHECK_FALSE(shared);
    CHECK_FALSE(above_limit);
    CHECK_FALSE(factory.closed_twice);
    CHECK(factory.live() == 0);
    CHECK(served > 0);
}

TEST_CASE("the limit holds at every instant when creating is slow and fails", "[stress]") {
    std::atomic<int> live{0}, most{0}, attempts{0};
    ResourceFactory<Thing> hooks;
    hooks.create = [&](Deadline) {
        const int now = ++live;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::yield();
        if (++attempts % 3 == 0) {
            --live;
            throw std::runtime_error("refused");
        }
        return std::make_shared<Thing>(0);
    };
    hooks.close = [&](Thing&) { --live; };
    {
        ResourcePool<Thing> pool{hooks, {.limit = 5}};
        in_threads([&](int number) {
            std::mt19937 random{static_cast<unsigned>(number + 1)};
            for (int i = 0; i < 2000; ++i) {
                try {
                    auto lease = pool.acquire({.block = true, .timeout = 5s});
                    if (random() % 2) lease.discard();
                } catch (const std::runtime_error&) {
                }
            }
        });
    }
    CHECK(most <= 5);
    CHECK(live == 0);
}

TEST_CASE("groups under new keys, limits and resets keep their invariants", "[stress]") {
    pools::Connections connections;
    pools::Producers producers{{.connections = &connections}};
    pools::register_group(connections);
    pools::register_group(producers);
    std::atomic<int> failures{0};
    in_threads([&](int number) {
        std::mt19937 random{static_cast<unsigned>(number + 1)};
        for (int i = 0; i < 1000; ++i) {
            const Connection broker{"memory://stress" + std::to_string(random() % 10)};
            const auto dice = random() % 100;
            try {
                if (dice < 3) {
                    pools::set_limit(5 + random() % 10, {.ignore_errors = true});
                } else if (dice < 5) {
                    pools::reset();
                } else if (dice < 40) {
                    auto lease = connections[broker].acquire({.block = true, .timeout = 1s});
                    auto queue = lease->simple_queue("jobs");
                    queue.put(i);
                    queue.get({.block = true, .timeout = 1s}).ack();
                } else {
                    auto lease = producers[broker].acquire({.block = true, .timeout = 1s});
                    lease->publish(i, {.routing_key = "jobs"});
                    if (dice > 95) lease.discard();
                }
            } catch (const LimitExceeded&) {
            } catch (const Empty&) {
            } catch (const ConnectionError&) {  // a reset took the connection away
            } catch (const ChannelError&) {
            } catch (const std::exception&) {
                ++failures;
            }
        }
    });
    CHECK(failures == 0);
    pools::set_limit(200, {.ignore_errors = true});
    for (int i = 0; i < 10; ++i) {
        const Connection broker{"memory://stress" + std::to_string(i)};
        CHECK(connections[broker].in_use() == 0);
        CHECK(producers[broker].in_use() == 0);
    }
}

TEST_CASE("a reset of producers interrupts only connections that they hold", "[stress]") {
    const Connection broker{"memory://interrupts"};
    pools::ConnectionPool connections{broker, {.limit = 6}};
    pools::ProducerPool producers{connections, {.limit = 4}};
    std::atomic<int> failures{0}, direct_uses{0};
    std::atomic<bool> done{false};
    std::vector<std::thread> all;
    for (int i = 0; i < 4; ++i)
        all.emplace_back([&] {
            while (!done) try {
                    (void)producers.acquire({.block = true, .timeout = 10s});
                } catch (const std::exception&) {
                    ++failures;
                }
        });
    for (int i = 0; i < 4; ++i)
        all.emplace_back([&] {
            while (!done) try {
                    auto lease = connections.acquire({.block = true, .timeout = 10s});
                    for (int k = 0; k < 20; ++k) lease->connect();
                    ++direct_uses;
                } catch (const std::exception&) {
                    ++failures;
                }
        });
    for (int i = 0; i < 3000 || (direct_uses < 1000 && failures == 0); ++i) producers.reset();
    done = true;
    for (auto& thread : all) thread.join();
    CHECK(failures == 0);
    CHECK(direct_uses > 0);
    CHECK(connections.in_use() == 0);
    CHECK(producers.in_use() == 0);
}

TEST_CASE("a lease of a producer that a reset does not interrupt belongs to the pool", "[stress]") {
    const Connection broker{"memory://orphans"};
    pools::ConnectionPool connections{broker, {.limit = 2}};
    pools::ProducerPool producers{connections, {.limit = 1}};
    int missed = 0, interrupted = 0;
    for (int i = 0; i < 3000; ++i) {
        (void)producers.acquire();
        std::latch start{2};
        std::thread resetter{[&] {
            start.arrive_and_wait();
            producers.reset();
        }};
        start.arrive_and_wait();
        auto producer = producers.acquire({.block = true, .timeout = 10s});
        resetter.join();
        bool works = true;
        try {
            producer->publish(i, {.routing_key = "nobody"});
        } catch (const ConnectionError&) {
            works = false;
        }
        if (!works) ++interrupted;
        if (works != (producers.in_use() == 1)) ++missed;
    }
    CHECK(missed == 0);
    CHECK(interrupted > 0);
}

TEST_CASE("limits change and resets run while keys are erased", "[stress]") {
    GroupRegistry registry{5};
    ScriptedFactory factory;
    {
        PoolGroup<int, ResourcePool<Thing>> group{[&](int, const kombu::PoolOptions& options) {
                                                      return std::make_unique<ResourcePool<Thing>>(factory.hooks(),
                                                                                                   options);
                                                  },
                                                  UseGlobalLimit{}, &registry};
        registry.add(group);
        in_threads([&](int number) {
            for (int i = 0; i < 300; ++i) {
                if (number == 0) registry.set_limit(static_cast<std::size_t>(5 + i % 7), {.ignore_errors = true});
                if (number == 1) registry.reset();
                if (number < 2) continue;
                // A key for each thread: erasing a key invalidates references to its pool.
                auto lease = group[number].acquire();
                if (i % 2) group.erase(number);
            }
        });
    }
    CHECK(factory.live() == 0);
    CHECK_FALSE(factory.closed_twice);
}

TEST_CASE("groups are created and destroyed while a change of limit is refused", "[stress]") {
    GroupRegistry registry{5};
    ScriptedFactory factory;
    using Group = PoolGroup<int, ResourcePool<Thing>>;
    const Group::Create create = [&](int, const kombu::PoolOptions& options) {
        return std::make_unique<ResourcePool<Thing>>(factory.hooks(), options);
    };
    Group busy{create, UseGlobalLimit{}, &registry};
    auto lease = busy[1].acquire();
    std::atomic<int> refused{0};
    in_threads([&](int number) {
        for (int i = 0; i < 300; ++i) {
            if (number % 4 == 0) {
                try {
                    registry.set_limit(1);
                } catch (const PoolInUse&) {
                    ++refused;
                }
            } else {
                const Group passing{create, UseGlobalLimit{}, &registry};
            }
        }
    });
    CHECK(refused == 300 * threads / 4);
    CHECK(registry.limit() == 5);
}

TEST_CASE("the memory broker neither loses nor duplicates messages", "[stress]") {
    constexpr int messages = 300;
    std::atomic<long> sum{0}, received{0};
    in_threads([&](int number) {
        Connection connection{"memory://conservation"};
        auto queue = connection.simple_queue("numbers");
        if (number % 2 == 0) {
            for (int i = 1; i <= messages; ++i) queue.put(i);
            return;
        }
        std::mt19937 random{static_cast<unsigned>(number)};
        while (received < messages * threads / 2) {
            try {
                Message message = queue.get({.block = true, .timeout = 20ms});
                if (random() % 4 == 0) {
                    message.requeue();
                    continue;
                }
                sum += message.payload().get<long>();
                ++received;
                message.ack();
            } catch (const Empty&) {
            }
        }
    });
    CHECK(received == messages * threads / 2);
    CHECK(sum == static_cast<long>(threads / 2) * messages * (messages + 1) / 2);
}

TEST_CASE("temporary pools leave nothing behind", "[stress]") {
    using Pool = ResourcePool<Thing>;
    ScriptedFactory factory;
    const auto use = [&] {
        PoolGroup<int, Pool> group{
            [&](int, const PoolOptions& options) { return std::make_unique<Pool>(factory.plain_hooks(), options); }};
        (void)group[1].acquire();
        (void)group[2].acquire();
        group.erase(1);
    };
    use();
    const std::size_t tables = kombu::detail::slot_tables.count;
    for (int round = 0; round < 10'000; ++round) use();
    CHECK(kombu::detail::slot_tables.count == tables);
}
