// SPDX-License-Identifier: BSD-3-Clause
// Pools of channels, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/messaging_fixture.hpp"

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE_METHOD(Messaging, "P2 a new pool of channels has opened none", "[channel_pool]") {
    pools::ChannelPool pool = connection.channel_pool(2);
    CHECK(pool.limit() == 2);
    CHECK(pool.stats().in_use == 0);
    CHECK_FALSE(connection.connected());
}

TEST_CASE_METHOD(Messaging, "P3 P4 a full pool of channels throws ChannelLimitExceeded", "[channel_pool]") {
    pools::ChannelPool pool = connection.channel_pool(2);
    auto one = pool.acquire();
    auto two = pool.acquire();
    CHECK(one->queue_declare(topology.queue).messages == 0);
    CHECK(two->queue_declare(topology.queue).messages == 0);
    CHECK_THROWS_AS(pool.acquire(), ChannelLimitExceeded);
    CHECK_THROWS_AS(pool.acquire({.block = true, .timeout = 20ms}), ChannelLimitExceeded);
    one.release();
    CHECK(pool.acquire()->is_open());
    CHECK(pool.stats().created == 2);
}

TEST_CASE_METHOD(Messaging, "a channel that the broker has closed is not lent again", "[channel_pool]") {
    pools::ChannelPool pool = connection.channel_pool(1);
    {
        auto channel = pool.acquire();
        CHECK_THROWS_AS(channel->queue_declare(Queue{unique("missing"), {.passive = true}}), ChannelError);
    }
    CHECK(pool.acquire()->is_open());
    CHECK(connection.connected());
}

TEST_CASE_METHOD(Messaging, "a channel with an unsettled message gives it back with its lease", "[channel_pool]") {
    producer.publish(7, to_queue());
    pools::ChannelPool pool = connection.channel_pool(1);
    {
        auto channel = pool.acquire();
        CHECK(channel->basic_get(topology.queue.name())->payload() == 7);
    }
    CHECK(queue().get(soon).payload() == 7);
}

TEST_CASE_METHOD(Messaging, "channels of a connection that has failed are replaced", "[channel_pool]") {
    pools::ChannelPool pool = connection.channel_pool(2);
    pool.acquire()->queue_declare(topology.queue);
    connection.release();
    CHECK(pool.acquire()->queue_declare(topology.queue).name == topology.queue.name());
}

TEST_CASE_METHOD(Messaging, "P23 acquire_channel leases a connection and its default channel", "[channel_pool]") {
    pools::ConnectionPool pool = connection.pool(1);
    CHECK(pool.limit() == 1);
    {
        auto [leased, channel] = pool.acquire_channel({.block = true, .timeout = 10s});
        CHECK(channel.queue_declare(topology.queue).name == topology.queue.name());
        CHECK(leased->connected());
        CHECK(pool.stats().in_use == 1);
        CHECK_THROWS_AS(pool.acquire_channel(), ConnectionLimitExceeded);
    }
    CHECK(pool.stats().in_use == 0);
}

TEST_CASE("P24 acquire_channel gives the connection back when it cannot be connected", "[channel_pool]") {
    pools::ConnectionPool pool{Connection{"amqp://127.0.0.1:1"}, {.limit = 1}};
    CHECK_THROWS_AS(pool.acquire_channel({.timeout = 10s}), ConnectionError);
    CHECK(pool.stats().in_use == 0);
}
