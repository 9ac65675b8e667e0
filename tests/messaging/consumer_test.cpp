// SPDX-License-Identifier: BSD-3-Clause
// Consumers, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <map>
#include <memory>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A topology, a second connection that looks at it, and the bodies that a consumer has received.
struct Consuming : Messaging {
    Connection other{broker_url()};
    std::vector<Json> seen;

    void publish(int count, int first = 0) {
        for (int n = first; n < first + count; ++n) producer.publish(n, to_queue());
    }
    std::uint32_t ready() { return other.simple_queue(topology.queue).qsize(); }
    Consumer::MessageHandler record_and_ack() {
        return [this](Message& message) {
            seen.push_back(message.payload());
            message.ack();
        };
    }
    /// Handles messages until there were `count` since the start of the test.
    void drain(std::size_t count) {
        while (seen.size() < count && connection.drain_events(10s)) {
        }
        REQUIRE(seen.size() == count);
    }
};

Json numbers(int count, int first = 0) {
    Json list = Json::array();
    for (int n = first; n < first + count; ++n) list.push_back(n);
    return list;
}

}  // namespace

TEST_CASE_METHOD(Consuming, "N2 M15 a consumer receives the messages of its queue in their order", "[consumer]") {
    publish(30);
    Consumer consumer{connection, {topology.queue}, {.prefetch_count = 7}};
    consumer.on_message(record_and_ack());
    CHECK_FALSE(consumer.consuming_from(topology.queue.name()));
    consumer.consume();
    CHECK(consumer.consuming_from(topology.queue.name()));
    drain(30);
    CHECK(Json(seen) == numbers(30));
    CHECK_FALSE(connection.drain_events(20ms));
    publish(1, 30);
    drain(31);
    consumer.cancel();
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Consuming, "a waiting consumer gets a message that another connection publishes", "[consumer]") {
    Consumer consumer{connection, {topology.queue}};
    consumer.on_message(record_and_ack());
    consumer.consume();
    std::thread sender{[&] { Producer{other}.publish("late", to_queue()); }};
    CHECK(connection.drain_events(10s));
    sender.join();
    CHECK(Json(seen) == Json::array({"late"}));
}

TEST_CASE_METHOD(Consuming, "N21 Q6 X12 drain_events returns within its time, and says whether a message was handled",
                 "[consumer]") {
    CHECK_FALSE(connection.drain_events(0s));  // without a consumer
    Consumer consumer{connection, {topology.queue}};
    consumer.on_message(record_and_ack());
    consumer.consume();
    const auto start = Clock::now();
    CHECK_FALSE(connection.drain_events(100ms));
    CHECK(Clock::now() - start >= 100ms);
    CHECK(Clock::now() - start < 5s);
    const auto before = Clock::now();
    CHECK_FALSE(connection.drain_events(0s));
    CHECK(Clock::now() - before < 1s);
    publish(1);
    CHECK(eventually([&] { return connection.drain_events(0s); }));
    CHECK(seen.size() == 1);
}

TEST_CASE_METHOD(Consuming, "N19 M18 X2 a consumer has no more unsettled messages than its prefetch count",
                 "[consumer]") {
    publish(20);
    Consumer consumer{connection, {topology.queue}, {.prefetch_count = 5}};
    std::vector<Message> held;
    consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
    consumer.consume();
    while (held.size() < 5) REQUIRE(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(50ms));
    CHECK(ready() == 15);
    held[2].ack();
    CHECK(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(50ms));
    CHECK(held.size() == 6);
    CHECK(ready() == 14);

    // The messages at hand count for the consumer that has received them.
    consumer.qos(8);
    while (held.size() < 6 + 8) REQUIRE(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(50ms));
    CHECK(held.size() == 14);
    CHECK(ready() == 6);
}

TEST_CASE_METHOD(Consuming, "N17 M17 X3 the end of scope gives back what was not settled", "[consumer]") {
    publish(10);
    {
        Consumer consumer{connection, {topology.queue}, {.prefetch_count = 6}};
        int count = 0;
        consumer.on_message([&](Message& message) {
            if (++count == 1) message.ack();
        });
        consumer.consume();
        while (count < 3) REQUIRE(connection.drain_events(10s));
    }
    CHECK(eventually([&] { return ready() == 9; }));
    // The connection works on.
    Message first = queue().get(soon);
    CHECK(first.payload() == 1);
    CHECK(first.redelivered());
}

TEST_CASE_METHOD(Consuming, "N17 the end of scope by an exception gives back too", "[consumer]") {
    publish(3);
    try {
        Consumer consumer{connection, {topology.queue}};
        consumer.on_message([](Message&) { throw std::runtime_error("the handler failed"); });
        consumer.consume();
        connection.drain_events(10s);
        FAIL("did not throw");
    } catch (const std::runtime_error& error) {
        CHECK(error.what() == std::string{"the handler failed"});
    }
    CHECK(eventually([&] { return ready() == 3; }));
    CHECK_FALSE(connection.drain_events(10ms));
}

TEST_CASE_METHOD(Consuming, "N17 M17 cancel requeues what was not handed out, and the rest can be settled",
                 "[consumer]") {
    publish(10);
    Consumer consumer{connection, {topology.queue}};
    std::vector<Message> held;
    consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
    consumer.consume();
    while (held.size() < 2) REQUIRE(connection.drain_events(10s));
    consumer.cancel();
    consumer.cancel();
    CHECK_FALSE(consumer.consuming_from(topology.queue.name()));
    CHECK(eventually([&] { return ready() == 8; }));
    CHECK_FALSE(connection.drain_events(20ms));
    held[0].ack();
    held[1].requeue();
    CHECK(eventually([&] { return ready() == 9; }));
    consumer.on_message(record_and_ack());
    consumer.resume();
    drain(9);
    CHECK(Json(seen) == numbers(9, 1));
}

TEST_CASE_METHOD(Consuming, "N10 a message of a consumer is settled once", "[consumer]") {
    publish(2);
    Consumer consumer{connection, {topology.queue}};
    int count = 0;
    consumer.on_message([&](Message& message) {
        ++count;
        message.ack();
        CHECK_THROWS_AS(message.ack(), MessageStateError);
        CHECK_THROWS_AS(message.reject(), MessageStateError);
        CHECK_THROWS_AS(consumer.ack_until(message), MessageStateError);
    });
    consumer.consume();
    while (count < 2) REQUIRE(connection.drain_events(10s));
    consumer.cancel();
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Consuming, "ack_until acknowledges a message and those before it", "[consumer]") {
    publish(6);
    {
        Consumer consumer{connection, {topology.queue}};
        std::vector<Message> held;
        consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
        consumer.consume();
        while (held.size() < 6) REQUIRE(connection.drain_events(10s));
        held[1].requeue();
        consumer.ack_until(held[3]);
        CHECK_THROWS_AS(held[3].ack(), MessageStateError);
        CHECK_THROWS_AS(held[0].ack(), ChannelError);
    }
    std::vector<Json> left;
    auto rest = other.simple_queue(topology.queue);
    REQUIRE(eventually([&] { return rest.qsize() == 3; }));
    for (int i = 0; i < 3; ++i) {
        Message message = rest.get(soon);
        left.push_back(message.payload());
        message.ack();
    }
    std::sort(left.begin(), left.end());
    CHECK(Json(left) == Json{1, 4, 5});
}

TEST_CASE_METHOD(Consuming, "N11 a handler publishes, declares, purges, gets and cancels on the same connection",
                 "[consumer]") {
    const Topology second;
    publish(3);
    Consumer consumer{connection, {topology.queue}};
    int depth = 0;
    consumer.on_message([&](Message& message) {
        CHECK(++depth == 1);
        seen.push_back(message.payload());
        producer.publish(seen.size(), {.exchange = second.exchange, .routing_key = "key", .declare = {second.queue}});
        auto nested = connection.simple_queue(second.queue);
        CHECK(nested.get(soon).payload() == seen.size());
        connection.default_channel().declare(second.queue);
        CHECK(consumer.queues().size() == 1);
        CHECK_THROWS_AS(connection.drain_events(0s), LeaseError);
        message.ack();
        if (seen.size() == 2) consumer.cancel();
        --depth;
    });
    consumer.consume();
    while (seen.size() < 2) REQUIRE(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(50ms));
    CHECK(eventually([&] { return ready() == 1; }));
    CHECK(consumer.purge() == 1);
}

TEST_CASE_METHOD(Consuming, "an exception of a handler passes out of drain_events, and consuming goes on",
                 "[consumer]") {
    publish(3);
    Consumer consumer{connection, {topology.queue}};
    consumer.on_message([&](Message& message) {
        seen.push_back(message.payload());
        message.ack();
        if (seen.size() == 2) throw std::logic_error("no");
    });
    consumer.consume();
    CHECK(connection.drain_events(10s));
    CHECK_THROWS_AS(connection.drain_events(10s), std::logic_error);
    CHECK(connection.drain_events(10s));
    CHECK(Json(seen) == numbers(3));
}

TEST_CASE_METHOD(Consuming, "M21 M22 N13 callbacks get the payload; what cannot be decoded goes to on_decode_error",
                 "[consumer]") {
    producer.publish(Json{{"n", 1}}, to_queue());
    producer.publish("{", {.exchange = topology.exchange, .routing_key = "key", .content_type = "application/json"});
    producer.publish(
        "x", {.exchange = topology.exchange, .routing_key = "key", .content_type = "application/x-python-serialize"});
    producer.publish(Json{{"n", 2}}, to_queue());
    Consumer consumer{connection, {topology.queue}};
    int second = 0;
    consumer.register_callback([&](const Json& payload, Message& message) {
        seen.push_back(payload["n"]);
        message.ack();
    });
    consumer.register_callback([&](const Json&, Message& message) {
        CHECK(message.acknowledged());
        ++second;
    });
    std::vector<std::string> errors;
    consumer.on_decode_error([&](Message& message, const Error& error) {
        errors.emplace_back(dynamic_cast<const ContentDisallowed*>(&error) ? "disallowed" : "invalid");
        message.reject();
    });
    consumer.consume();
    for (int i = 0; i < 4; ++i) CHECK(connection.drain_events(10s));
    CHECK(Json(seen) == Json{1, 2});
    CHECK(second == 2);
    CHECK(errors == std::vector<std::string>{"invalid", "disallowed"});
    consumer.cancel();
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Consuming, "M24 on_message gets every message as it came, and what it accepts is known",
                 "[consumer]") {
    const PublishOptions disallowed{.exchange = topology.exchange,
                                    .routing_key = "key",
                                    .declare = {topology.queue},
                                    .content_type = "application/x-python-serialize"};
    producer.publish("raw", disallowed);
    Consumer consumer{connection, {topology.queue}, {.accept = {"json"}}};
    consumer.register_callback([&](const Json&, Message&) { FAIL("was called"); });
    consumer.on_message([&](Message& message) {
        seen.push_back(std::string{message.raw_body()});
        CHECK_THROWS_AS(message.payload(), ContentDisallowed);
        message.ack();
    });
    consumer.consume();
    drain(1);
    CHECK(seen[0] == "raw");
}

TEST_CASE_METHOD(Consuming, "M16 consuming twice is once, and the tags begin with the prefix", "[consumer]") {
    Consumer consumer{connection, {topology.queue}, {.tag_prefix = "mine"}};
    consumer.on_message(record_and_ack());
    consumer.consume();
    consumer.consume();
    if (!on_redis())
        CHECK(other.channel().queue_declare(Queue{topology.queue.name(), {.passive = true}}).consumers == 1);
    publish(2);
    drain(2);
    try {
        other.channel().queue_delete(topology.queue.name());
        if (!on_redis()) connection.drain_events(10s);
    } catch (const ConsumerCancelled& cancelled) {
        CHECK_THAT(cancelled.tag(), Catch::Matchers::StartsWith("mine"));
    }
}

TEST_CASE_METHOD(Consuming, "M20 a consumer without a handler cannot consume", "[consumer]") {
    Consumer consumer{connection, {topology.queue}};
    CHECK_THROWS_AS(consumer.consume(), ConfigurationError);
}

TEST_CASE_METHOD(Consuming, "M21 without on_decode_error the error passes out of drain_events", "[consumer]") {
    producer.publish("{", {.exchange = topology.exchange,
                           .routing_key = "key",
                           .declare = {topology.exchange, topology.queue},
                           .content_type = "application/json"});
    Consumer consumer{connection, {topology.queue}};
    consumer.register_callback([&](const Json&, Message&) { FAIL("was called"); });
    consumer.consume();
    CHECK_THROWS_AS(connection.drain_events(10s), DecodeError);
    CHECK_FALSE(connection.drain_events(20ms));
}

TEST_CASE_METHOD(Consuming, "Q1 messages of a no_ack consumer are gone when they are handed out, and not before",
                 "[consumer]") {
    publish(10);
    {
        Consumer consumer{connection, {topology.queue}, {.no_ack = true}};
        consumer.on_message([&](Message& message) {
            CHECK(message.acknowledged());
            CHECK_NOTHROW(message.ack());
            seen.push_back(message.payload());
        });
        consumer.consume();
        drain(3);
    }
    CHECK(eventually([&] { return ready() == 7; }));
}

TEST_CASE_METHOD(Consuming, "X15 N23 a queue with one message is served beside queues with many", "[consumer]") {
    const Topology second, third;
    for (const Topology* each : {&second, &third})
        producer.publish("one", {.exchange = each->exchange, .routing_key = "key", .declare = {each->queue}});
    publish(50);
    Consumer consumer{connection, {topology.queue, second.queue, third.queue}, {.prefetch_count = 4}};
    consumer.on_message(record_and_ack());
    consumer.consume();
    while (std::count(seen.begin(), seen.end(), "one") < 2) REQUIRE(connection.drain_events(10s));
    CHECK(seen.size() <= 2 * 3 + 4 + 4);
    drain(52);
    CHECK(consumer.consuming_from(second.queue.name()));
    consumer.cancel_by_queue(second.queue.name());
    consumer.cancel_by_queue(second.queue.name());
    consumer.cancel_by_queue("no such queue");
    CHECK_FALSE(consumer.consuming_from(second.queue.name()));
    CHECK(consumer.consuming_from(third.queue.name()));
    producer.publish("two", {.exchange = second.exchange, .routing_key = "key"});
    CHECK_FALSE(connection.drain_events(50ms));
    producer.publish("three", {.exchange = third.exchange, .routing_key = "key"});
    drain(53);
}

TEST_CASE_METHOD(Consuming, "consumers of one connection take turns", "[consumer]") {
    const Topology second;
    publish(20);
    for (int i = 0; i < 20; ++i)
        producer.publish("b", {.exchange = second.exchange, .routing_key = "key", .declare = {second.queue}});
    Consumer a{connection, {topology.queue}}, b{connection, {second.queue}};
    a.on_message(record_and_ack());
    b.on_message(record_and_ack());
    a.consume();
    b.consume();
    drain(6);
    const auto count = std::count(seen.begin(), seen.end(), "b");
    CHECK(count >= 1);
    CHECK(count <= 5);
    drain(40);
}

TEST_CASE_METHOD(Consuming, "N9 M23 a message of an earlier channel is not settled on its successor", "[consumer]") {
    publish(3);
    Consumer consumer{connection, {topology.queue}, {.prefetch_count = 1}};
    std::vector<Message> held;
    consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
    consumer.consume();
    REQUIRE(connection.drain_events(10s));
    connection.release();
    CHECK_THROWS_AS(connection.drain_events(10ms), OperationalError);
    CHECK_THROWS_AS(connection.drain_events(10ms), OperationalError);  // a dead channel never looks alive
    consumer.consume();
    REQUIRE(connection.drain_events(10s));
    CHECK(held[1].payload() == 0);
    CHECK(held[1].redelivered());
    CHECK_THROWS_AS(held[0].ack(), OperationalError);
    held[1].ack();
    CHECK(connection.drain_events(10s));
    CHECK(held[2].payload() == 1);
}

TEST_CASE_METHOD(Consuming, "M18 recover lets the broker deliver again what is not settled", "[consumer]") {
    publish(3);
    Consumer consumer{connection, {topology.queue}};
    std::vector<Message> held;
    consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
    consumer.consume();
    while (held.size() < 2) REQUIRE(connection.drain_events(10s));
    held[0].ack();
    consumer.recover();
    CHECK_THROWS_AS(held[1].ack(), ChannelError);
    while (held.size() < 4) REQUIRE(connection.drain_events(10s));
    CHECK(held[2].payload() == 1);
    CHECK(held[2].redelivered());
    CHECK_NOTHROW(held[2].ack());
    CHECK_NOTHROW(held[3].ack());
    consumer.cancel();
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Consuming, "a lease that ends takes the consumers of its holder along", "[consumer][pools]") {
    publish(2);
    pools::ConnectionPool pool{connection, {.limit = 1}};
    std::unique_ptr<Consumer> consumer;
    {
        auto lease = pool.acquire();
        consumer = std::make_unique<Consumer>(*lease, std::vector{topology.queue});
        consumer->on_message([&](Message& message) { seen.push_back(message.payload()); });
        consumer->consume();
        CHECK(lease->drain_events(10s));
    }
    CHECK(eventually([&] { return ready() == 2; }));
    auto lease = pool.acquire();
    CHECK_FALSE(lease->drain_events(20ms));
    CHECK_THROWS_AS(consumer->consume(), LeaseError);
    consumer.reset();
    CHECK(lease->connected());
}

TEST_CASE_METHOD(Consuming, "a queue whose name the broker chooses is consumed from by that name", "[consumer]") {
    if (on_redis()) return;  // has no such queues
    Consumer consumer{connection, {Queue{"", topology.exchange, "key", {.exclusive = true}}}};
    REQUIRE_FALSE(consumer.queues()[0].name().empty());
    consumer.on_message(record_and_ack());
    consumer.consume();
    CHECK(consumer.consuming_from(consumer.queues()[0].name()));
    publish(1);
    drain(1);
}

TEST_CASE_METHOD(Consuming, "Q3 X11 a consumer of a fanout exchange gets a copy of each message", "[consumer]") {
    const Exchange exchange{unique("fanout"), "fanout"};
    const Queue ours{unique("ours"), exchange, {.auto_delete = true}},
        theirs{unique("theirs"), exchange, {.auto_delete = true}};
    std::vector<Json> others;
    Consumer a{connection, {ours}}, b{other, {theirs}};
    a.on_message(record_and_ack());
    b.on_message([&](Message& message) {
        others.push_back(message.payload());
        message.ack();
    });
    a.consume();
    b.consume();
    Connection third{broker_url()};
    for (int n = 0; n < 3; ++n) Producer{third}.publish(n, {.exchange = exchange});
    drain(3);
    while (others.size() < 3) REQUIRE(other.drain_events(10s));
    CHECK(Json(seen) == numbers(3));
    CHECK(Json(others) == numbers(3));
    third.default_channel().exchange_delete(exchange.name());
}

TEST_CASE_METHOD(Consuming, "a deleted queue cancels its consumer with a typed error", "[consumer]") {
    if (on_redis()) return;  // cannot tell
    publish(1);
    Consumer consumer{connection, {topology.queue}};
    consumer.on_message(record_and_ack());
    std::vector<std::string> cancelled;
    consumer.on_cancelled([&](const ConsumerCancelled& error) { cancelled.push_back(error.queue()); });
    consumer.consume();
    drain(1);
    other.default_channel().queue_delete(topology.queue.name());
    try {
        connection.drain_events(10s);
        FAIL("did not throw");
    } catch (const ConsumerCancelled& error) {
        CHECK(error.queue() == topology.queue.name());
        CHECK(error.tag().starts_with("kombu-cpp."));
        CHECK(error.is_retryable());
    }
    CHECK(cancelled == std::vector<std::string>{topology.queue.name()});
    CHECK_FALSE(consumer.consuming_from(topology.queue.name()));
    CHECK_FALSE(connection.drain_events(20ms));
    connection.default_channel().declare(topology.queue);
    consumer.consume();
    publish(1, 1);
    drain(2);
}

TEST_CASE_METHOD(Consuming, "an exclusive consumer refuses others", "[consumer]") {
    if (on_redis()) return;  // has no such consumers
    Consumer consumer{connection, {topology.queue}, {.exclusive = true}};
    consumer.on_message(record_and_ack());
    consumer.consume();
    Consumer late{other, {topology.queue}};
    late.on_message([](Message&) {});
    try {
        late.consume();
        FAIL("did not throw");
    } catch (const ChannelError& error) {
        CHECK(error.code() == 403);
    }
    publish(1);
    drain(1);
}

TEST_CASE_METHOD(Consuming, "the consumer of the highest priority is served first", "[consumer]") {
    if (on_redis()) return;  // has no priorities of consumers
    Consumer low{other, {topology.queue}, {.prefetch_count = 1}};
    int count = 0;
    low.on_message([&](Message&) { ++count; });
    low.consume();
    Consumer high{connection, {topology.queue}, {.prefetch_count = 2, .priority = 10}};
    std::vector<Message> held;
    high.on_message([&](Message& message) { held.push_back(std::move(message)); });
    high.consume();
    publish(3);
    while (held.size() < 2) REQUIRE(connection.drain_events(10s));
    CHECK(held[1].payload() == 1);
    CHECK(other.drain_events(10s));
    CHECK(count == 1);
}

TEST_CASE_METHOD(Consuming, "invalid consumers are refused before anything is sent", "[consumer]") {
    CHECK_THROWS_AS((Consumer{connection, {}}), ConfigurationError);
    CHECK_THROWS_AS((Consumer{connection, {topology.queue}, {.tag_prefix = std::string(300, 'x')}}),
                    ConfigurationError);
    CHECK_THROWS_AS((Consumer{connection, {topology.queue}, {.arguments = 1}}), ConfigurationError);
    CHECK_FALSE(connection.connected());
    Consumer consumer{connection, {topology.queue}};
    Consumer moved = std::move(consumer);
    CHECK_THROWS_AS(consumer.consume(), LeaseError);
    CHECK_FALSE(consumer.consuming_from("x"));
    moved = std::move(moved);
    moved.on_message(record_and_ack());
    CHECK_NOTHROW(moved.consume());
}
