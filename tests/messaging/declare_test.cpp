// Declarations and routing, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Messaging, "Q14 declaring something again with other properties is NotEquivalentError",
                 "[declare][errors]") {
    producer.publish(1, here());
    CHECK_THROWS_AS(producer.maybe_declare(Exchange{place.exchange.name(), "fanout"}), NotEquivalentError);
    CHECK_THROWS_AS(producer.maybe_declare(Queue{place.queue.name(), place.exchange, "key", {.durable = false}}),
                    NotEquivalentError);
    CHECK(connection.connected());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 1);
}

TEST_CASE_METHOD(Messaging, "X5 a passive declaration only looks", "[declare][errors]") {
    CHECK_THROWS_AS(producer.maybe_declare(Queue(place.queue.name(), {}, {}, {.passive = true})), ChannelError);
    CHECK_THROWS_AS(producer.maybe_declare(Exchange(place.exchange.name(), "direct", {.passive = true})), ChannelError);
    producer.maybe_declare(place.queue);
    CHECK_NOTHROW(producer.maybe_declare(Queue(place.queue.name(), {}, {}, {.passive = true})));
    CHECK_NOTHROW(producer.maybe_declare(Exchange(place.exchange.name(), "direct", {.passive = true})));
}

TEST_CASE_METHOD(Messaging, "an entity is declared once per session", "[declare]") {
    CHECK(producer.maybe_declare(place.queue));
    CHECK_FALSE(producer.maybe_declare(place.queue));
    connection.release();
    CHECK(producer.maybe_declare(place.queue));
    // D48: the name alone does not make it known, and a refusal makes everything unknown.
    CHECK_THROWS_AS(producer.maybe_declare(Queue(place.queue.name(), place.exchange, "key", {.max_length = 3})),
                    NotEquivalentError);
    CHECK(producer.maybe_declare(place.queue));
}

TEST_CASE_METHOD(Messaging, "D48 a queue that somebody deleted is declared again after the refusal", "[declare]") {
    producer.publish(1, here());
    Connection other{broker_url()};
    other.channel().exchange_delete(place.exchange.name());
    CHECK_THROWS_AS(producer.publish(2, here()), ChannelError);
    producer.publish(3, here());
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).payload() == 1);
    CHECK(from.get(soon).payload() == 3);
}

TEST_CASE_METHOD(Messaging, "D48 a refusal of anything on the channel makes declarations unknown", "[declare]") {
    auto simple = queue();
    for (int i = 0; i < 2; ++i) producer.publish(i, here());
    Connection other{broker_url()};
    other.channel().queue_delete(place.queue.name());
    CHECK_THROWS_AS(simple.qsize(), ChannelError);
    producer.publish(2, here());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);
}

TEST_CASE_METHOD(Messaging, "M1 a producer declares its own exchange at its first publish", "[declare]") {
    Producer own{connection, {.exchange = place.exchange, .routing_key = "key"}};
    CHECK_FALSE(connection.connected());
    own.publish(1);
    producer.maybe_declare(place.queue);
    own.publish(2);
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);

    Producer quiet{connection, {.exchange = Exchange{unique("undeclared")}, .auto_declare = false}};
    CHECK_THROWS_AS(quiet.publish(1), ChannelError);
}

TEST_CASE("the exchange types route as AMQP says", "[routing]") {
    const auto routed = [](const std::string& type, const std::string& bound, const std::string& key,
                           Json arguments = Json::object(), Json headers = Json::object()) {
        Place place{type};
        Connection connection{broker_url()};
        const Queue queue{place.queue.name(), place.exchange, bound, {.binding_arguments = std::move(arguments)}};
        Producer producer{connection};
        producer.publish(
            1, {.exchange = place.exchange, .routing_key = key, .declare = {queue}, .headers = std::move(headers)});
        return connection.simple_queue(queue).qsize() == 1;
    };
    CHECK(routed("direct", "a", "a"));
    CHECK_FALSE(routed("direct", "a", "b"));
    CHECK(routed("topic", "a.*", "a.b"));
    CHECK_FALSE(routed("topic", "a.*", "a.b.c"));
    CHECK(routed("topic", "a.#", "a"));
    if (on_redis()) {
        // Fanout exchanges keep nothing there (tests/redis has those), and headers cannot be written down.
        CHECK_THROWS_WITH(routed("headers", "", ""), Contains("NOT_IMPLEMENTED"));
        return;
    }
    CHECK(routed("fanout", "a", "b"));
    CHECK(routed("headers", "", "", {{"x-match", "any"}, {"k", 1}}, {{"k", 1}}));
    CHECK_FALSE(routed("headers", "", "", {{"k", 1}, {"l", 2}}, {{"k", 1}}));
}

TEST_CASE("further bindings of a queue are declared with it", "[declare]") {
    Place one, two{"topic"};
    const Queue queue{one.queue.name(), one.exchange, "key", {.bindings = {{two.exchange, "a.#"}}}};
    Connection connection{broker_url()};
    Producer producer{connection};
    producer.publish(1, {.exchange = two.exchange, .routing_key = "a.b", .declare = {queue}});
    CHECK(connection.simple_queue(queue).get(soon).payload() == 1);
}
