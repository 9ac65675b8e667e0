// SPDX-License-Identifier: BSD-3-Clause
// Declarations and routing, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Messaging, "Q14 X21 declaring something again with other properties is NotEquivalentError",
                 "[declare][errors]") {
    producer.publish(1, to_queue());
    CHECK_THROWS_AS(producer.maybe_declare(Exchange{topology.exchange.name(), "fanout"}), NotEquivalentError);
    CHECK_THROWS_AS(producer.maybe_declare(Queue{topology.queue.name(), topology.exchange, "key", {.durable = false}}),
                    NotEquivalentError);
    CHECK(connection.connected());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 1);
}

TEST_CASE_METHOD(Messaging, "X5 a passive declaration creates nothing", "[declare][errors]") {
    CHECK_THROWS_AS(producer.maybe_declare(Queue(topology.queue.name(), {}, {}, {.passive = true})), ChannelError);
    CHECK_THROWS_AS(producer.maybe_declare(Exchange(topology.exchange.name(), "direct", {.passive = true})),
                    ChannelError);
    producer.maybe_declare(topology.queue);
    CHECK_NOTHROW(producer.maybe_declare(Queue(topology.queue.name(), {}, {}, {.passive = true})));
    CHECK_NOTHROW(producer.maybe_declare(Exchange(topology.exchange.name(), "direct", {.passive = true})));
}

TEST_CASE_METHOD(Messaging, "an entity is declared once per session", "[declare]") {
    CHECK(producer.maybe_declare(topology.queue));
    CHECK_FALSE(producer.maybe_declare(topology.queue));
    connection.release();
    CHECK(producer.maybe_declare(topology.queue));
    // D48: declarations are cached with all properties, and a refusal clears the cache.
    CHECK_THROWS_AS(producer.maybe_declare(Queue(topology.queue.name(), topology.exchange, "key", {.max_length = 3})),
                    NotEquivalentError);
    CHECK(producer.maybe_declare(topology.queue));
}

TEST_CASE_METHOD(Messaging, "D48 a deleted exchange is declared again after the refusal", "[declare]") {
    producer.publish(1, to_queue());
    Connection other{broker_url()};
    other.channel().exchange_delete(topology.exchange.name());
    CHECK_THROWS_AS(producer.publish(2, to_queue()), ChannelError);
    producer.publish(3, to_queue());
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).payload() == 1);
    CHECK(from.get(soon).payload() == 3);
}

TEST_CASE_METHOD(Messaging, "D48 any refusal on the channel clears the cache of declarations", "[declare]") {
    auto simple = queue();
    for (int i = 0; i < 2; ++i) producer.publish(i, to_queue());
    Connection other{broker_url()};
    other.channel().queue_delete(topology.queue.name());
    CHECK_THROWS_AS(simple.qsize(), ChannelError);
    producer.publish(2, to_queue());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);
}

TEST_CASE_METHOD(Messaging, "M1 a producer declares its own exchange at its first publish", "[declare]") {
    Producer own{connection, {.exchange = topology.exchange, .routing_key = "key"}};
    CHECK_FALSE(connection.connected());
    own.publish(1);
    producer.maybe_declare(topology.queue);
    own.publish(2);
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);

    Producer quiet{connection, {.exchange = Exchange{unique("undeclared")}, .auto_declare = false}};
    CHECK_THROWS_AS(quiet.publish(1), ChannelError);
}

TEST_CASE("Q2 the exchange types route as AMQP says", "[routing]") {
    const auto routed = [](const std::string& type, const std::string& bound, const std::string& key,
                           Json arguments = Json::object(), Json headers = Json::object()) {
        Topology topology{type};
        Connection connection{broker_url()};
        const Queue queue{topology.queue.name(), topology.exchange, bound, {.binding_arguments = std::move(arguments)}};
        Producer producer{connection};
        producer.publish(
            1, {.exchange = topology.exchange, .routing_key = key, .declare = {queue}, .headers = std::move(headers)});
        return connection.simple_queue(queue).qsize() == 1;
    };
    CHECK(routed("direct", "a", "a"));
    CHECK_FALSE(routed("direct", "a", "b"));
    CHECK(routed("topic", "a.*", "a.b"));
    CHECK_FALSE(routed("topic", "a.*", "a.b.c"));
    CHECK(routed("topic", "a.#", "a"));
    if (on_redis()) {
        // Fanout exchanges store nothing on Redis (tests/redis has those), and headers exchanges are not supported.
        CHECK_THROWS_WITH(routed("headers", "", ""), Contains("NOT_IMPLEMENTED"));
        return;
    }
    CHECK(routed("fanout", "a", "b"));
    CHECK(routed("headers", "", "", {{"x-match", "any"}, {"k", 1}}, {{"k", 1}}));
    CHECK_FALSE(routed("headers", "", "", {{"k", 1}, {"l", 2}}, {{"k", 1}}));
}

TEST_CASE("M15 further bindings of a queue are declared with it", "[declare]") {
    Topology one, two{"topic"};
    const Queue queue{one.queue.name(), one.exchange, "key", {.bindings = {{two.exchange, "a.#"}}}};
    Connection connection{broker_url()};
    Producer producer{connection};
    producer.publish(1, {.exchange = two.exchange, .routing_key = "a.b", .declare = {queue}});
    CHECK(connection.simple_queue(queue).get(soon).payload() == 1);
}
