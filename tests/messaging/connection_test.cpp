// SPDX-License-Identifier: BSD-3-Clause
// Connections, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE("C1 a connection connects on connect() or on first use, and not before", "[connection]") {
    Connection connection{broker_url()};
    CHECK_FALSE(connection.connected());
    CHECK(&connection.connect() == &connection);
    CHECK(connection.connected());
    CHECK(connection.connect().connected());
    connection.release();
    CHECK_FALSE(connection.connected());
    connection.release();
    connection.default_channel();
    CHECK(connection.connected());
}

TEST_CASE("a connection tells what its broker is and how long a round trip takes", "[connection]") {
    Connection connection{broker_url()};
    const BrokerInfo info = connection.broker_info(20s);
    CHECK(connection.connected());
    const std::string product = on_redis() ? "Redis" : broker_url().starts_with("amqp") ? "RabbitMQ" : "memory";
    CHECK(info.product == product);
    CHECK_THAT(info.version, Contains("."));
    CHECK(info.tls == (broker_url().starts_with("amqps") ? "TLSv1.3" : ""));
    CHECK(info.round_trip < 20s);
    CHECK((info.round_trip > 0ns || product == "memory"));
    // Nothing stays behind: more calls than a connection may have channels.
    for (int i = 0; i < 3000; ++i) connection.broker_info();
    CHECK(connection.connected());
}

TEST_CASE("C8 a copy of a connection is unconnected, a move takes the session along", "[connection]") {
    Connection connection{broker_url()};
    connection.connect();
    Connection copy = connection;
    CHECK_FALSE(copy.connected());
    CHECK(copy == connection);
    CHECK_FALSE(connection.clone().connected());
    Connection moved = std::move(connection);
    CHECK(moved.connected());
    CHECK_FALSE(connection.connected());
    CHECK_THROWS_AS(connection.connect(), LeaseError);
}

TEST_CASE("C16 a connection can be closed at any time, and twice", "[connection]") {
    Connection connection{broker_url()};
    connection.close();
    connection.connect();
    auto channel = connection.default_channel();
    connection.close();
    connection.release();
    CHECK_FALSE(connection.connected());
    CHECK_FALSE(channel.is_open());
    CHECK(connection.default_channel().is_open());
}

TEST_CASE("C17 the default channel is one channel, opened again after it was closed", "[connection]") {
    Connection connection{broker_url()};
    auto channel = connection.default_channel();
    CHECK(channel.is_open());
    channel.close();
    CHECK_FALSE(channel.is_open());
    CHECK(connection.default_channel().is_open());
    connection.release();
    CHECK(connection.default_channel().is_open());
}
