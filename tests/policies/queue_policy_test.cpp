// SPDX-License-Identifier: BSD-3-Clause
// What the options of queues and exchanges do to messages: the memory broker does as RabbitMQ. Runs against both.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <map>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A queue with options, whose dead letters go to a second queue.
struct Policies {
    Connection connection{broker_url()};
    Producer producer{connection};
    Channel channel = connection.channel();
    Topology letters;

    Policies() { channel.declare(letters.queue); }

    QueueOptions with_letters(QueueOptions options = {}) const {
        options.dead_letter_exchange = letters.exchange.name();
        options.dead_letter_routing_key = "key";
        return options;
    }
    void publish(const Topology& to, const Json& body, PublishOptions options = {}) {
        options.exchange = to.exchange;
        options.routing_key = "key";
        options.declare = {to.queue};
        producer.publish(body, options);
    }
    std::uint32_t ready(const Queue& queue) {
        return connection.channel().queue_declare(Queue{queue.name(), {.passive = true}}).messages;
    }
    Message letter() { return connection.simple_queue(letters.queue).get(soon); }
    Json bodies(const Queue& queue) {
        Json list = Json::array();
        while (const auto message = channel.basic_get(queue.name(), true)) list.push_back(message->payload());
        return list;
    }
};

}  // namespace

TEST_CASE_METHOD(Policies, "a message whose expiration has passed leaves its queue", "[policy]") {
    const Topology topology;
    publish(topology, 1, {.expiration = 20ms});
    publish(topology, 2);
    CHECK(eventually([&] { return ready(topology.queue) == 1; }));
    CHECK(bodies(topology.queue) == Json{2});
}

TEST_CASE_METHOD(Policies, "message_ttl limits the time of every message, an own expiration may be shorter",
                 "[policy]") {
    const Topology topology{"direct", with_letters({.message_ttl = 60ms})};
    publish(topology, "slow", {.expiration = 1h});
    CHECK(letter().headers()["x-death"][0]["reason"] == "expired");
    const Topology longer{"direct", with_letters({.message_ttl = 1h})};
    publish(longer, "fast", {.expiration = 20ms});
    const Message message = letter();
    CHECK(message.payload() == "fast");
    CHECK(message.headers()["x-death"][0]["original-expiration"] == "20");
    CHECK_FALSE(message.properties().expiration);
}

TEST_CASE_METHOD(Policies, "a message without time to wait reaches only those who wait already", "[policy]") {
    const Topology topology{"direct", {.message_ttl = 0s}};
    publish(topology, 1);
    CHECK(ready(topology.queue) == 0);
    Json received;
    Consumer consumer{connection, {topology.queue}};
    consumer.on_message([&](Message& message) {
        received = message.payload();
        message.ack();
    });
    consumer.consume();
    publish(topology, 2);
    CHECK(connection.drain_events(10s));
    CHECK(received == 2);
}

TEST_CASE_METHOD(Policies, "an expired dead letter wakes a consumer that waits for it", "[policy]") {
    const Topology topology{"direct", with_letters({.message_ttl = 50ms})};
    channel.declare(topology.queue);
    Json received;
    Consumer consumer{connection, {letters.queue}};
    consumer.on_message([&](Message& message) {
        received = message.payload();
        message.ack();
    });
    consumer.consume();
    Connection other{broker_url()};
    Producer{other}.publish(7, {.exchange = topology.exchange, .routing_key = "key"});
    CHECK(connection.drain_events(10s));
    CHECK(received == 7);
}

TEST_CASE_METHOD(Policies, "a rejected message goes to the dead-letter exchange and says where it was", "[policy]") {
    const Topology topology{"direct", with_letters()};
    publish(topology, {{"order", 1}}, {.headers = {{"own", true}}, .priority = 3, .message_id = "m1"});
    connection.simple_queue(topology.queue).get(soon).reject();
    Message message = letter();
    CHECK(message.payload() == Json{{"order", 1}});
    CHECK(message.properties().message_id == "m1");
    CHECK(message.headers()["own"] == true);
    CHECK(message.headers()["x-first-death-reason"] == "rejected");
    CHECK(message.headers()["x-first-death-queue"] == topology.queue.name());
    CHECK(message.headers()["x-first-death-exchange"] == topology.exchange.name());
    const Json death = message.headers()["x-death"][0];
    CHECK(death["count"] == 1);
    CHECK(death["reason"] == "rejected");
    CHECK(death["queue"] == topology.queue.name());
    CHECK(death["exchange"] == topology.exchange.name());
    CHECK(death["routing-keys"] == Json{"key"});
    CHECK(is_timestamp(death["time"]));
    CHECK(message.delivery_info().exchange == letters.exchange.name());

    // The second time is counted.
    publish(topology, message.payload(), {.headers = message.headers()});
    connection.simple_queue(topology.queue).get(soon).reject();
    message.ack();
    const Message second = letter();
    CHECK(second.headers()["x-death"].size() == 1);
    CHECK(second.headers()["x-death"][0]["count"] == 2);
}

TEST_CASE_METHOD(Policies, "a rejected message of a queue without a dead-letter exchange is dropped", "[policy]") {
    const Topology topology;
    publish(topology, 1);
    connection.simple_queue(topology.queue).get(soon).reject();
    CHECK(ready(topology.queue) == 0);
    CHECK(ready(letters.queue) == 0);
}

TEST_CASE_METHOD(Policies, "the oldest message makes room in a queue that is full", "[policy]") {
    const Topology topology{"direct", with_letters({.max_length = 2})};
    for (int n = 1; n <= 4; ++n) publish(topology, n);
    CHECK(bodies(topology.queue) == Json{3, 4});
    const Json dead{letter().payload(), letter().payload()};
    CHECK(dead == Json{1, 2});
}

TEST_CASE_METHOD(Policies, "max_length_bytes counts the bodies", "[policy]") {
    const Topology topology{"direct", {.max_length_bytes = 10}};
    for (const char* text : {"aaaa", "bbbb", "cccc"})
        producer.publish(text, {.exchange = topology.exchange, .routing_key = "key", .declare = {topology.queue}});
    CHECK(bodies(topology.queue) == Json{"bbbb", "cccc"});
}

TEST_CASE_METHOD(Policies, "a full queue with reject_publish refuses what is published", "[policy]") {
    const Topology topology{"direct", {.max_length = 1, .overflow = Overflow::reject_publish}};
    publish(topology, 1);
    CHECK_THROWS_AS(publish(topology, 2), Nacked);
    CHECK(bodies(topology.queue) == Json{1});
    publish(topology, 3);
    CHECK(bodies(topology.queue) == Json{3});
}

TEST_CASE_METHOD(Policies, "reject_publish_dlx dead-letters what it refuses", "[policy]") {
    const Topology topology{"direct", with_letters({.max_length = 1, .overflow = Overflow::reject_publish_dlx})};
    publish(topology, 1);
    CHECK_THROWS_AS(publish(topology, 2), Nacked);
    const Message message = letter();
    CHECK(message.payload() == 2);
    CHECK(message.headers()["x-death"][0]["reason"] == "maxlen");
}

TEST_CASE_METHOD(Policies, "a queue with max_priority delivers higher priorities first", "[policy]") {
    const Topology topology{"direct", {.max_priority = 5}};
    const std::map<int, int> priority_of{{1, 0}, {2, 5}, {3, 1}, {4, 5}, {5, 200}, {6, 1}};
    for (const auto& [body, priority] : priority_of) publish(topology, body, {.priority = priority});
    CHECK(bodies(topology.queue) == Json{2, 4, 5, 3, 6, 1});
}

TEST_CASE_METHOD(Policies, "a full queue with priorities drops what would be delivered first", "[policy]") {
    const Topology topology{"direct", {.max_length = 2, .max_priority = 9}};
    for (const int priority : {9, 8, 0, 1}) publish(topology, priority, {.priority = priority});
    CHECK(bodies(topology.queue) == Json{1, 0});
}

TEST_CASE_METHOD(Policies, "a requeued message keeps its place among those of its priority", "[policy]") {
    const Topology topology{"direct", {.max_priority = 5}};
    for (int body : {1, 2, 3}) publish(topology, body, {.priority = 1});
    publish(topology, 9, {.priority = 5});
    channel.basic_get(topology.queue.name())->ack();
    auto first = channel.basic_get(topology.queue.name());
    CHECK(first->payload() == 1);
    first->requeue();
    CHECK(bodies(topology.queue) == Json{1, 2, 3});
}

TEST_CASE_METHOD(Policies, "Q10 a queue without max_priority ignores priorities", "[policy]") {
    const Topology topology;
    for (int body : {1, 2, 3}) publish(topology, body, {.priority = body});
    CHECK(bodies(topology.queue) == Json{1, 2, 3});
}

TEST_CASE_METHOD(Policies, "a quorum queue dead-letters what came back too often", "[policy]") {
    const Topology topology{"direct", with_letters({.type = QueueType::quorum, .delivery_limit = 2})};
    publish(topology, 1);
    auto simple = connection.simple_queue(topology.queue);
    for (std::uint64_t returns = 0; returns <= 2; ++returns) {
        Message message = simple.get(soon);
        CHECK(message.headers().value("x-delivery-count", std::uint64_t{0}) == returns);
        message.requeue();
    }
    const Message message = letter();
    CHECK(message.headers()["x-death"][0]["reason"] == "delivery_limit");
    CHECK(ready(topology.queue) == 0);
}

TEST_CASE_METHOD(Policies, "a queue that nobody uses is deleted after its time", "[policy]") {
    const Topology topology{"direct", {.expires = 50ms}};
    channel.declare(topology.queue);
    // A declaration, also a passive one, would count as a use.
    CHECK(eventually([&] {
        try {
            producer.publish(1, {.routing_key = topology.queue.name(), .mandatory = true});
            return false;
        } catch (const Unroutable&) {
            return true;
        }
    }));
}

TEST_CASE_METHOD(Policies, "a get that has waited for longer than the queue may be unused is a use", "[policy]") {
    const Topology topology{"direct", {.expires = 1s}};
    channel.declare(topology.queue);
    Connection other{broker_url()};
    std::thread publisher{[&] {
        std::this_thread::sleep_for(1500ms);  // longer than the queue lives without a use
        Producer late{other};
        for (int n = 1; n <= 2; ++n) late.publish(n, {.exchange = topology.exchange, .routing_key = "key"});
    }};
    auto simple = connection.simple_queue(topology.queue);
    CHECK(simple.get(soon).payload() == 1);
    CHECK(simple.get(soon).payload() == 2);
    publisher.join();
}

TEST_CASE_METHOD(Policies, "what is unsettled when its queue is deleted is not of a later queue of that name",
                 "[policy]") {
    const Topology topology{"direct", with_letters()};
    publish(topology, "old");
    publish(topology, "older");
    auto simple = connection.simple_queue(topology.queue);
    Message requeued = simple.get(soon), rejected = simple.get(soon);
    Connection other{broker_url()};
    other.channel().queue_delete(topology.queue.name());
    other.channel().declare(topology.queue);
    requeued.requeue();
    rejected.reject();
    simple.qsize();  // The broker has settled both when it answers on their channel.
    CHECK(ready(topology.queue) == 0);
    CHECK(ready(letters.queue) == 0);
}

TEST_CASE_METHOD(Policies, "messages that expire in a circle of queues are dropped", "[policy]") {
    Topology second;
    const Queue first{
        unique("circle"),
        {.message_ttl = 20ms, .dead_letter_exchange = second.exchange.name(), .dead_letter_routing_key = "key"}};
    const Queue back{second.queue.name(),
                     second.exchange,
                     "key",
                     {.message_ttl = 20ms, .dead_letter_exchange = "", .dead_letter_routing_key = first.name()}};
    channel.declare(first);
    channel.declare(back);
    channel.exchange_bind(letters.exchange.name(), second.exchange.name(), "key");
    producer.publish(1, {.routing_key = first.name()});
    CHECK(letter().payload() == 1);  // a copy is made on the way from the first queue
    CHECK(eventually([&] { return ready(first) + ready(back) == 0; }));
    CHECK(ready(letters.queue) == 0);
    channel.queue_delete(first.name());
}

TEST_CASE_METHOD(Policies, "an exchange that is bound to another gets what the binding matches", "[policy]") {
    const Topology source{"topic"};
    const Topology destination{"fanout"};
    channel.declare(source.queue);
    channel.declare(destination.queue);
    channel.exchange_bind(destination.exchange.name(), source.exchange.name(), "order.#");
    producer.publish(1, {.exchange = source.exchange, .routing_key = "order.new"});
    producer.publish(2, {.exchange = source.exchange, .routing_key = "other"});
    CHECK(bodies(destination.queue) == Json{1});
    channel.exchange_unbind(destination.exchange.name(), source.exchange.name(), "order.#");
    producer.publish(3, {.exchange = source.exchange, .routing_key = "order.new"});
    CHECK(bodies(destination.queue).empty());
    CHECK_THROWS_AS(channel.exchange_bind("no.such.exchange", source.exchange.name()), ChannelError);
}

TEST_CASE_METHOD(Policies, "exchanges bound in a circle deliver once", "[policy]") {
    const Topology one{"fanout"}, two{"fanout"};
    channel.declare(one.queue);
    channel.declare(two.queue);
    channel.exchange_bind(one.exchange.name(), two.exchange.name());
    channel.exchange_bind(two.exchange.name(), one.exchange.name());
    producer.publish(1, {.exchange = one.exchange});
    CHECK(bodies(one.queue) == Json{1});
    CHECK(bodies(two.queue) == Json{1});
}

TEST_CASE_METHOD(Policies, "what no queue matches goes to the alternate exchange", "[policy]") {
    const Topology rest{"fanout"};
    channel.declare(rest.queue);
    const Exchange exchange{
        unique("with.alternate"), "direct", {.arguments = {{"alternate-exchange", rest.exchange.name()}}}};
    channel.declare(exchange);
    producer.publish(1, {.exchange = exchange, .routing_key = "nowhere", .mandatory = true});
    CHECK(bodies(rest.queue) == Json{1});
    channel.exchange_delete(exchange.name());
}

TEST_CASE_METHOD(Policies, "one consumer at a time gets the messages of a single-active-consumer queue", "[policy]") {
    const Topology topology{"direct", {.single_active_consumer = true}};
    std::vector<int> first, second;
    const auto record = [](std::vector<int>& to) {
        return [&to](Message& message) {
            to.push_back(message.payload());
            message.ack();
        };
    };
    auto active = std::make_unique<Consumer>(connection, std::vector{topology.queue});
    active->on_message(record(first));
    active->consume();
    Connection other{broker_url()};
    Consumer waiting{other, {topology.queue}};
    waiting.on_message(record(second));
    waiting.consume();
    publish(topology, 1);
    publish(topology, 2);
    CHECK(eventually([&] { return connection.drain_events(1s), first.size() == 2; }));
    active.reset();
    publish(topology, 3);
    CHECK(other.drain_events(10s));
    CHECK(second == std::vector{3});
}

TEST_CASE_METHOD(Policies, "arguments with a wrong value are refused with 406", "[policy][errors]") {
    for (const Json& arguments : {Json{{"x-message-ttl", -1}}, Json{{"x-message-ttl", "10"}}, Json{{"x-expires", 0}},
                                  Json{{"x-max-length", -2}}, Json{{"x-overflow", "spill"}},
                                  Json{{"x-queue-type", "magic"}}, Json{{"x-dead-letter-routing-key", "k"}},
                                  Json{{"x-dead-letter-exchange", 1}}, Json{{"x-max-priority", -1}}}) {
        INFO(arguments);
        const Queue queue{unique("wrong"), {.queue_arguments = arguments}};
        try {
            connection.channel().declare(queue);
            FAIL_CHECK("it was accepted");
        } catch (const ChannelError& error) {
            CHECK(error.code() == 406);
        }
    }
}

TEST_CASE_METHOD(Policies, "on_declared is called with the broker's answer", "[policy]") {
    std::vector<QueueInfo> declared;
    const auto record = [&](const QueueInfo& info) { declared.push_back(info); };
    const Topology topology{"direct", {.on_declared = record}};
    publish(topology, 1);
    REQUIRE(declared.size() == 1);
    CHECK(declared[0].name == topology.queue.name());
    connection.channel().declare(topology.queue);
    REQUIRE(declared.size() == 2);
    CHECK(declared[1].messages == 1);
    connection.channel().declare(Queue{"", {.exclusive = true, .on_declared = record}});
    CHECK_FALSE(declared.at(2).name.empty());
}
