// SPDX-License-Identifier: BSD-3-Clause
// The plain operations of a channel, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE("names that are too long are refused", "[channel]") {
    Connection connection{broker_url()};
    auto channel = connection.channel();
    const std::string longest(256, 'x');
    CHECK_THROWS_AS(channel.queue_purge(longest), ConfigurationError);
    CHECK_THROWS_AS(channel.queue_delete(longest), ConfigurationError);
    CHECK_THROWS_AS(channel.queue_bind("q", "e", longest), ConfigurationError);
    CHECK_THROWS_AS(channel.exchange_delete(longest), ConfigurationError);
    CHECK_THROWS_AS(channel.basic_get(longest), ConfigurationError);
    CHECK(channel.is_open());
}

TEST_CASE("Q5 the plain operations of a channel", "[channel]") {
    Topology topology;
    Connection connection{broker_url()};
    auto channel = connection.channel();
    const auto named = channel.queue_declare(Queue("", {}, {}, {.exclusive = true}));
    CHECK_FALSE(named.name.empty());
    CHECK(named.messages == 0);

    channel.declare(topology.queue);
    Producer producer{connection};
    for (int i = 0; i < 3; ++i) producer.publish(i, {.exchange = topology.exchange, .routing_key = "key"});
    CHECK(channel.queue_declare(topology.queue).messages == 3);
    CHECK(channel.queue_purge(topology.queue.name()) == 3);
    channel.queue_unbind(topology.queue.name(), topology.exchange.name(), "key");
    producer.publish(1, {.exchange = topology.exchange, .routing_key = "key"});
    CHECK_FALSE(channel.basic_get(topology.queue.name()));
    channel.queue_bind(topology.queue.name(), topology.exchange.name(), "other");
    producer.publish(2, {.exchange = topology.exchange, .routing_key = "other"});
    CHECK(channel.basic_get(topology.queue.name(), true)->payload() == 2);
    CHECK(channel.queue_delete(topology.queue.name()) == 0);
    CHECK(channel.queue_delete(topology.queue.name()) == 0);
    channel.exchange_delete(topology.exchange.name());
    if (on_redis()) {  // on Redis a missing queue is an empty one
        CHECK_FALSE(channel.basic_get(topology.queue.name()));
        CHECK_THROWS_AS(channel.queue_declare(Queue(topology.queue.name(), {}, {}, {.passive = true})), ChannelError);
    } else {
        CHECK_THROWS_AS(channel.basic_get(topology.queue.name()), ChannelError);
    }
    CHECK_FALSE(channel.is_open());
    CHECK_THROWS_AS(channel.basic_get(topology.queue.name()), ChannelError);
}

TEST_CASE_METHOD(Messaging, "X7 if_empty keeps a queue with messages, if_unused a bound exchange",
                 "[channel][errors]") {
    producer.publish(1, to_queue());
    CHECK_THROWS_AS(connection.channel().queue_delete(topology.queue.name(), false, true), ChannelError);
    CHECK_THROWS_AS(connection.channel().exchange_delete(topology.exchange.name(), true), ChannelError);
    CHECK(connection.channel().queue_delete(topology.queue.name()) == 1);
}
