// SPDX-License-Identifier: BSD-3-Clause
// The pools of connections and producers: G1 to G16, and P23 and P24 on real connections.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <future>
#include <latch>
#include <set>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE("P23 a leased connection has its default channel", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto lease = connections[Connection{broker_url()}].acquire();
    CHECK(lease->default_channel().is_open());
}

TEST_CASE("P24 an application's error leaves a healthy connection in the pool", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    const auto fail = [&] {
        auto lease = pool.acquire();
        lease->connect();
        throw std::runtime_error("business");
    };
    CHECK_THROWS(fail());
    CHECK(pool.stats().discarded == 0);
    CHECK(pool.acquire()->connected());
}

TEST_CASE("P24 unsettled messages are requeued when the lease ends", "[pools]") {
    Topology topology;
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    std::optional<Message> unsettled;
    const auto fail = [&] {
        auto lease = pool.acquire();
        auto queue = lease->simple_queue(topology.queue);
        queue.put(1);
        unsettled = queue.get(soon);
        throw std::runtime_error("business");
    };
    CHECK_THROWS(fail());
    CHECK_THROWS_AS(unsettled->ack(), LeaseError);
    auto lease = pool.acquire();
    Message again = lease->simple_queue(topology.queue).get(soon);
    CHECK(again.redelivered());
    CHECK(pool.stats().created == 1);
}

TEST_CASE("objects made from a lease are invalid after it", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    auto lease = pool.acquire();
    auto channel = lease->channel();
    auto queue = lease->simple_queue(unique("test.simple"));
    Producer producer{*lease};
    lease.release();
    CHECK_THROWS_AS(channel.is_open(), LeaseError);
    CHECK_THROWS_AS(queue.put(1), LeaseError);
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "x"}), LeaseError);
    CHECK(pool.acquire()->connected());
}

TEST_CASE("objects made from a discarded lease are invalid", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    auto lease = pool.acquire();
    auto queue = lease->simple_queue(unique("test.simple"));
    lease.discard();
    CHECK_THROWS_AS(queue.put(1), LeaseError);
}

TEST_CASE("a connection that its holder replaced by another is not leased again", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    {
        auto lease = pool.acquire();
        *lease = Connection{"memory://somewhere.else"};
    }
    const auto lease = pool.acquire();
    CHECK(*lease == Connection{broker_url()});
}

TEST_CASE("a producer that its holder moved away is replaced", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    {
        auto lease = producers[broker].acquire();
        const Producer mine = std::move(*lease);
    }
    CHECK_NOTHROW(producers[broker].acquire()->publish(1, {.routing_key = unique("nobody")}));
}

TEST_CASE("a producer that its holder assigned is not leased again", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    {
        auto lease = producers[broker].acquire();
        Connection own{broker_url()};
        *lease = Producer{own, {.routing_key = "mine"}};
    }
    CHECK(producers[broker].acquire()->routing_key().empty());
}

TEST_CASE("a producer is refused at once when there is no connection and the caller may not wait", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    auto held = connections[broker].acquire();
    CHECK_THROWS_AS(producers[broker].acquire(), ConnectionLimitExceeded);
    CHECK(producers[broker].in_use() == 0);
}

TEST_CASE("a connection that its holder moved away is replaced", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    {
        auto lease = pool.acquire();
        const Connection moved = std::move(*lease);
    }
    CHECK(pool.acquire()->connect().connected());
    CHECK(pool.stats().discarded == 1);
}

TEST_CASE("a connection that its holder closed is leased again and can connect", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    auto& pool = connections[Connection{broker_url()}];
    {
        auto lease = pool.acquire();
        lease->connect();
        lease->close();
    }
    CHECK(pool.stats().idle == 1);
    CHECK(pool.acquire()->connect().connected());
}

TEST_CASE("G1 G3 an acquire of a producer without a connection leaves no slot in use", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    const Connection broker{broker_url()};
    auto held = connections[broker].acquire();
    const auto start = Clock::now();
    CHECK_THROWS_AS(producers[broker].acquire({.block = true, .timeout = 50ms}), ConnectionLimitExceeded);
    CHECK(Clock::now() - start >= 50ms);
    CHECK(Clock::now() - start < 5s);
    CHECK(producers[broker].in_use() == 0);
    held.release();
    CHECK_NOTHROW(producers[broker].acquire({.block = true, .timeout = 50ms}));
}

TEST_CASE("G2 G4 a producer releases its connection with its lease, or discards it when discarded", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    auto& pool = connections[broker];
    {
        auto producer = producers[broker].acquire();
        CHECK(pool.in_use() == 1);
        producer->publish(1, {.routing_key = unique("nobody")});
    }
    CHECK(pool.in_use() == 0);
    CHECK(pool.stats().discarded == 0);
    auto producer = producers[broker].acquire();
    producer.discard();
    CHECK(pool.in_use() == 0);
    CHECK(pool.stats().discarded == 1);
}

TEST_CASE("G5 a blocking acquire of a producer waits for a connection", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    auto held = connections[broker].acquire();
    auto waiting = std::async(std::launch::async, [&] {
        auto producer = producers[broker].acquire({.block = true, .timeout = 10s});
        producer->publish(1, {.routing_key = unique("nobody")});
    });
    REQUIRE(eventually([&] { return connections[broker].stats().waiting == 1; }));
    held.release();
    CHECK_NOTHROW(waiting.get());
}

TEST_CASE("G6 G7 G8 producers and their connections are created on demand and kept", "[pools]") {
    pools::Connections connections{{.limit = 3}};
    pools::Producers producers{{.limit = 3, .connections = &connections}};
    const Connection broker{broker_url()};
    CHECK(producers[broker].stats().created == 0);
    for (int i = 0; i < 5; ++i) {
        auto producer = producers[broker].acquire();
        producer->publish(1, {.routing_key = unique("nobody")});
    }
    CHECK(producers[broker].stats().created == 1);
    CHECK(connections[broker].stats().created == 1);
}

TEST_CASE("a producer has the connection of its last lease again, unless it is taken, dead or reset", "[pools]") {
    const Connection broker{broker_url()};
    pools::ConnectionPool connections{broker, {.limit = 3}};
    int lookups = 0;
    pools::ProducerPool producers{
        pools::ProducerPool::Source{[&] {
            ++lookups;
            return std::shared_ptr<pools::ConnectionPool>{std::shared_ptr<void>{}, &connections};
        }},
        {.limit = 3}};
    const auto publish = [&] {
        auto producer = producers.acquire({.block = true, .timeout = 10s});
        CHECK(connections.in_use() >= 1);
        producer->publish(1, {.routing_key = unique("nobody")});
    };
    publish();
    const int first = lookups;
    for (int i = 0; i < 10; ++i) publish();
    CHECK(lookups == first);
    CHECK(connections.in_use() == 0);
    CHECK(connections.stats().created == 1);
    CHECK(connections.stats().acquired == 11);
    CHECK(producers.stats().acquired == 11);

    auto taken = connections.acquire();
    publish();
    CHECK(lookups == first + 1);
    CHECK(connections.stats().created == 2);
    taken.release();
    publish();
    CHECK(lookups == first + 1);

    connections.reset();
    publish();
    CHECK(lookups == first + 2);
    CHECK(connections.stats().created == 3);

    connections.close();
    CHECK_THROWS_AS(publish(), PoolClosed);
    CHECK(producers.in_use() == 0);
}

TEST_CASE("a producer leaves the connection pool of an erased key", "[pools]") {
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    const Connection broker{broker_url()};
    for (int i = 0; i < 100; ++i) {
        producers[broker].acquire()->publish(i, {.routing_key = unique("nobody")});
        CHECK(connections.erase(broker));
        auto producer = producers[broker].acquire();
        CHECK(connections[broker].in_use() == 1);
    }
}

TEST_CASE("G12 pools know their broker and each other", "[pools]") {
    const Connection broker{broker_url()};
    CHECK(pools::connections[broker].connection() == broker);
    CHECK(pools::connections[broker].limit() == pools::get_limit());
    CHECK(&pools::producers[broker].connections() == &pools::connections[broker]);
    CHECK(pools::producers[broker].limit() == pools::connections[broker].limit());
    pools::Connections own{{.limit = 5}};
    pools::Producers mine{{.limit = 5, .connections = &own}};
    CHECK(&mine[broker].connections() == &own[broker]);
    CHECK(own.limit() == 5);
}

TEST_CASE("G13 equal parameters share a pool, different ones do not", "[pools]") {
    const Connection broker{broker_url()}, alias{broker_url()};
    const Connection other{broker_url(), {.transport_options = {{"operation_timeout", 7}}}};
    CHECK(&pools::connections[broker] == &pools::connections[alias]);
    CHECK(&pools::connections[broker] != &pools::connections[other]);
    auto lease = pools::connections[broker].acquire();
    CHECK(pools::connections[alias].in_use() == 1);
}

TEST_CASE("G14 a reset takes connections away from their users and leaves pools that work", "[pools]") {
    const Connection broker{broker_url()};
    auto& pool = pools::connections[broker];
    auto lease = pool.acquire();
    lease->connect();
    pools::reset();
    CHECK(pool.in_use() == 0);
    CHECK_THROWS_AS(lease->default_channel().queue_purge("x"), OperationalError);
    CHECK_THROWS_AS(lease->connect(), ConnectionError);
    CHECK(pools::connections[broker].acquire()->connect().connected());
    lease.release();
    CHECK(pool.stats().in_use == 0);
}

TEST_CASE("a reset interrupts a user that waits on its connection", "[pools]") {
    Topology topology;
    pools::Connections connections{{.limit = 1}};
    pools::register_group(connections);
    auto& pool = connections[Connection{broker_url()}];
    std::promise<void> ready;
    auto waiting = std::async(std::launch::async, [&] {
        auto lease = pool.acquire();
        auto queue = lease->simple_queue(topology.queue);
        ready.set_value();
        (void)queue.get({.block = true});
    });
    ready.get_future().wait();
    pools::reset();
    CHECK_THROWS_AS(waiting.get(), ConnectionError);
    CHECK(pool.in_use() == 0);
}

TEST_CASE("a reset takes connections away from leased producers", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    auto lease = producers[broker].acquire();
    lease->publish(1, {.routing_key = unique("nobody")});
    producers.reset();
    CHECK_THROWS_AS(lease->publish(1, {.routing_key = unique("nobody")}), OperationalError);
    CHECK(producers[broker].in_use() == 0);
    lease.release();
    CHECK(connections[broker].in_use() == 0);
    CHECK_NOTHROW(producers[broker].acquire());
}

TEST_CASE("G15 the global limit applies to all pools that follow it, or to none", "[pools]") {
    REQUIRE(pools::get_limit() == 200);
    pools::Connections follows{{.limit = pools::use_default_limit}}, own{{.limit = 5}}, unspecified;
    const Connection broker{broker_url()};
    CHECK(follows[broker].limit() == 200);
    CHECK(unspecified[broker].limit() == 200);
    auto lease = follows[broker].acquire();
    CHECK(pools::set_limit(300) == 300);
    CHECK(follows[broker].limit() == 300);
    CHECK(own[broker].limit() == 5);
    CHECK_THROWS_AS(pools::set_limit(100), PoolInUse);
    CHECK(pools::get_limit() == 300);
    CHECK(follows.limit() == 300);
    pools::set_limit(100, {.ignore_errors = true});
    CHECK(follows[broker].limit() == 100);
    CHECK(follows[broker].in_use() == 1);
    pools::set_limit(50, {.force = true});
    CHECK(follows[broker].in_use() == 0);
    pools::set_limit(200, {.reset_after = true});
    CHECK(pools::get_limit() == 200);
}

TEST_CASE("P5 P4 limit errors of connections are ConnectionLimitExceeded and name the pool", "[pools]") {
    pools::ConnectionPool pool{Connection{broker_url()}, {.limit = 1}};
    auto held = pool.acquire();
    try {
        (void)pool.acquire({.block = true, .timeout = 20ms});
        FAIL("acquired beyond the limit");
    } catch (const ConnectionLimitExceeded& error) {
        const std::string text = error.what();
        CHECK(text.find(Connection{broker_url()}.as_uri()) != std::string::npos);
        CHECK(text.find("limit 1, in use 1") != std::string::npos);
        CHECK(error.is_retryable());
    }
}

TEST_CASE("a lease outlives its group", "[pools]") {
    std::optional<Lease<Producer>> lease;
    pools::Connections connections{{.limit = 1}};
    {
        pools::Producers producers{{.limit = 1, .connections = &connections}};
        lease = producers[Connection{broker_url()}].acquire();
    }
    CHECK_NOTHROW((*lease)->publish(1, {.routing_key = unique("nobody")}));
    lease.reset();
    CHECK(connections[Connection{broker_url()}].in_use() == 0);
}

TEST_CASE("producers and connections exhausted in opposite order end with errors in time", "[pools]") {
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    const Connection broker{broker_url()};
    const AcquireOptions in_time{.block = true, .timeout = 300ms};
    const auto start = Clock::now();
    std::latch holding{2};
    auto first = std::async(std::launch::async, [&] {
        auto connection = connections[broker].acquire(in_time);
        holding.arrive_and_wait();
        auto producer = producers[broker].acquire(in_time);
    });
    auto second = std::async(std::launch::async, [&] {
        auto producer = producers[broker].acquire(in_time);
        holding.arrive_and_wait();
        auto connection = connections[broker].acquire(in_time);
    });
    int refused = 0;
    for (auto* call : {&first, &second}) {
        try {
            call->get();
        } catch (const ConnectionLimitExceeded&) {
            ++refused;  // what it held is then free for the other, if that still waits
        }
    }
    CHECK(refused >= 1);
    CHECK(Clock::now() - start < 5s);
    CHECK(connections[broker].stats().in_use == 0);
    CHECK(producers[broker].stats().in_use == 0);
}

TEST_CASE("warm_up connects, and reports why it cannot", "[pools]") {
    pools::Connections connections{{.limit = 3}};
    pools::Producers producers{{.limit = 3, .connections = &connections}};
    const Connection broker{broker_url()};
    producers[broker].warm_up(2, 10s);
    CHECK(connections[broker].stats().idle == 2);
    auto one = connections[broker].acquire(), two = connections[broker].acquire();
    CHECK((one->connected() && two->connected()));
    CHECK(connections[broker].stats().connect.total() == 2);
    auto three = connections[broker].acquire();
    CHECK(connections[broker].stats().connect.total() == 2);  // it has not connected yet
    three->connect();
    CHECK(connections[broker].stats().connect.total() == 3);
    const Connection nobody{"amqp://guest:s3cret@127.0.0.1:1//"};
    CHECK_THROWS_AS(connections[nobody].warm_up(1, 5s), ConnectionError);
    CHECK_THROWS_AS(producers[nobody].warm_up(1, 5s), ConnectionError);
}

TEST_CASE("the pools of a broker can have options of their own", "[pools]") {
    pools::Connections connections{{.name = "news"}};
    const Connection broker{broker_url()}, other{"memory://other"};
    connections.configure(broker, {.limit = 3, .preload = 2, .name = "own"});
    REQUIRE(eventually([&] { return connections[broker].stats().idle == 2; }));
    CHECK(connections[broker].acquire()->connected());
    CHECK(connections[broker].limit() == 3);
    CHECK(connections[broker].name() == "own@" + broker.as_uri());
    CHECK(connections[other].name() == "news@" + other.as_uri());
    CHECK(connections[other].limit() == pools::get_limit());
}

TEST_CASE("pools::stats() shows the pools of the global groups", "[pools]") {
    const Connection broker{broker_url()};
    auto producer = pools::producers[broker].acquire();
    std::set<std::string> in_use;
    for (const PoolStats& stats : pools::stats())
        if (stats.in_use != 0) in_use.insert(stats.name);
    CHECK(in_use == std::set<std::string>{"connections@" + broker.as_uri(), "producers@" + broker.as_uri()});
}

TEST_CASE("the error of a full pool of producers names the user's source line, not the library's", "[pools]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 5, .connections = &connections}};
    const Connection broker{broker_url()};
    auto held = producers[broker].acquire();
    const auto line = __LINE__ - 1;
    CHECK_THROWS_WITH(producers[broker].acquire(),
                      Catch::Matchers::Contains("no connection is free (limit 1, in use 1, idle 0, waiting 0)") &&
                          Catch::Matchers::Contains(" from pools_test.cpp:" + std::to_string(line)));
}

TEST_CASE("warm_up connects idle connections that were never connected", "[pools]") {
    pools::ConnectionPool pool{Connection{broker_url()}, {.limit = 2}};
    pool.acquire().release();
    REQUIRE_FALSE(pool.acquire_idle()->connected());
    pool.warm_up(2, 20s);
    auto one = pool.acquire(), two = pool.acquire();
    CHECK(one->connected());
    CHECK(two->connected());
    CHECK(pool.stats().created == 2);
}

TEST_CASE("a connection that could not connect does not go back to its pool", "[pools][errors]") {
    pools::ConnectionPool pool{Connection{"amqp://guest:guest@127.0.0.1:1//"}, {.limit = 2}};
    {
        auto lease = pool.acquire();
        CHECK_THROWS_AS(lease->connect(), ConnectionError);
    }
    CHECK(pool.stats().idle == 0);
}

TEST_CASE("kombu::pools can be closed, which waits for the leases, and used again after a reset", "[pools][close]") {
    const Connection broker{broker_url()};
    auto producer = pools::producers[broker].acquire({.block = true, .timeout = 20s});
    CHECK(pools::close_and_wait(0s) == 2);  // the producer, and the connection that it holds
    producer->publish(1, {.routing_key = unique("nobody")});
    producer.release();
    CHECK(pools::close_and_wait(20s) == 0);
    CHECK_THROWS_AS(pools::producers[broker].acquire(), PoolClosed);
    pools::reset();
    CHECK_NOTHROW(pools::producers[broker].acquire({.block = true, .timeout = 20s}));
}
