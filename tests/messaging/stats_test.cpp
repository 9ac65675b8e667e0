// SPDX-License-Identifier: BSD-3-Clause
// The statistics of brokers and pools, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/looping.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/batch.hpp>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

BrokerStats stats_of(const Connection& connection) {
    for (const BrokerStats& stats : broker_stats())
        if (stats.broker == connection.clone().as_uri()) return stats;
    return {};
}

/// A broker whose statistics no other test changes.
Connection counted_connection() {
    static int count = 0;
    return Connection{broker_url(), {.transport_options = {{"operation_timeout", 30.0 + ++count}}}};
}

}  // namespace

TEST_CASE("a broker's statistics count what was published, received and settled", "[stats]") {
    const Topology topology;
    Connection connection = counted_connection();
    CHECK(stats_of(connection).broker.empty());
    {
        auto queue = connection.simple_queue(topology.queue);
        CHECK(stats_of(connection).connections == 1);
        queue.put("12345");
        queue.put("123");
        Batch batch = Producer{connection}.batch();
        for (int i = 0; i < 3; ++i)
            batch.publish("12", {.exchange = topology.exchange, .routing_key = topology.queue.routing_key()});
        batch.commit();
        BrokerStats stats = stats_of(connection);
        CHECK(stats.published == 5);
        CHECK(stats.published_bytes == 14);
        CHECK(stats.confirmed == 5);
        CHECK(stats.received == 0);

        queue.get({.timeout = 10s}).ack();
        queue.get({.timeout = 10s}).reject();
        queue.get({.timeout = 10s}).requeue();
        queue.get({.timeout = 10s}).ack();
        stats = stats_of(connection);
        CHECK(stats.received == 4);
        CHECK(stats.received_bytes >= 12);
        CHECK(stats.acknowledged == 2);
        CHECK(stats.rejected == 1);
        CHECK(stats.requeued == 1);
    }
    // They outlive the connection.
    connection = Connection{"memory://another"};
    const Connection same = counted_connection();
    std::uint64_t published = 0;
    for (const BrokerStats& stats : broker_stats())
        if (stats.published_bytes == 14) published = stats.published;
    CHECK(published == 5);
    CHECK(stats_of(same).published == 0);
}

TEST_CASE("a broker's statistics tell refused and returned messages from published ones", "[stats]") {
    if (on_redis()) return;  // refuses none of these
    Connection connection = counted_connection();
    Producer producer{connection};
    const std::string nowhere = unique("stats.nowhere");
    CHECK_THROWS_AS(producer.publish("x", {.routing_key = nowhere, .mandatory = true}), Unroutable);
    CHECK_THROWS_AS(producer.publish("x", {.exchange = nowhere, .routing_key = "k"}), ChannelError);
    Batch batch = producer.batch();
    batch.publish("x", {.routing_key = nowhere, .mandatory = true});
    batch.publish("x", {.routing_key = nowhere});
    CHECK_THROWS_AS(batch.commit(), BatchError);
    const BrokerStats stats = stats_of(connection);
    CHECK(stats.returned == 2);
    CHECK(stats.refused == 1);
    CHECK(stats.published == 1);
    CHECK(stats.failed == 0);
}

TEST_CASE("a broker's statistics include consumer loops and closed connections", "[stats]") {
    const Topology topology;
    Connection connection = counted_connection();
    {
        auto queue = connection.simple_queue(topology.queue);
        for (int i = 0; i < 20; ++i) queue.put(i);
    }
    std::stop_source stop;
    std::atomic<int> handled{0};
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 3}};
    loop.on_message([&](Message&) {
        if (++handled == 20) stop.request_stop();
    });
    loop.run(stop.get_token());
    BrokerStats stats = stats_of(connection);
    CHECK(stats.received == 20);
    CHECK(stats.acknowledged == 20);
    CHECK(stats.connections == 1);
    connection.close();
    stats = stats_of(connection);
    CHECK(stats.connections == 0);
    CHECK(stats.published == 20);
}

TEST_CASE("statistics are JSON", "[stats]") {
    pools::Connections group;
    pools::register_group(group);
    const Connection connection{broker_url(), {.transport_options = {{"operation_timeout", 17}}}};
    auto lease = group[connection].acquire();
    lease->connect();
    const Json all = pools::stats();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Json& pool) {
        return pool["kind"] == "connection" && pool["key"] == connection.clone().as_uri();
    });
    REQUIRE(found != all.end());
    const Json pool = *found;
    CHECK(pool["limit"] == 200);
    CHECK(pool["in_use"] == 1);
    CHECK(pool["connect"]["count"] == 1);
    CHECK(pool["is_down"] == false);
    CHECK(pool["oldest_lease"]["line"].get<int>() > 0);
    CHECK_THAT(pool["oldest_lease"]["file"].get<std::string>(), Contains("stats_test.cpp"));
    CHECK(pool["last_error_at"].is_null());
    const Json brokers = broker_stats();
    CHECK(std::any_of(brokers.begin(), brokers.end(), [&](const Json& broker) {
        return broker["broker"] == connection.clone().as_uri() && broker["connections"] == 1;
    }));
    CHECK_THAT(all.dump() + brokers.dump(), !Contains("kombu-secret"));
}
