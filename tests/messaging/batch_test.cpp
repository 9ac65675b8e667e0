// SPDX-License-Identifier: BSD-3-Clause
// Batches, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Messaging, "a batch sends nothing until it is committed, and then all in their order", "[batch]") {
    Batch batch = producer.batch();
    auto from = queue({.no_ack = true});
    for (int i = 0; i < 100; ++i) batch.publish(i, to_queue());
    CHECK(batch.size() == 100);
    CHECK_THROWS_AS(from.get_nowait(), Empty);
    batch.commit(10s);
    CHECK(batch.empty());
    for (int i = 0; i < 100; ++i) REQUIRE(from.get(soon).payload() == i);
    CHECK_THROWS_AS(from.get_nowait(), Empty);
    batch.commit(10s);  // nothing to do
    batch.publish("again", to_queue());
    batch.publish(std::vector<std::byte>{std::byte{1}}, to_queue());
    batch.commit();
    CHECK(from.get(soon).payload() == "again");
    CHECK(from.get(soon).body() == "\1");
}

TEST_CASE_METHOD(Messaging, "a batch names the messages that were not published, and keeps them", "[batch][errors]") {
    producer.maybe_declare(topology.queue);
    Batch batch = producer.batch();
    for (int i = 0; i < 6; ++i) {
        auto options = to_queue();
        options.routing_key = i % 3 == 1 ? "nobody" : "key";
        options.mandatory = true;
        batch.publish(i, options);
    }
    try {
        batch.commit(10s);
        FAIL("committed");
    } catch (const BatchError& error) {
        REQUIRE(error.failures().size() == 2);
        CHECK(error.failures()[0].index == 1);
        CHECK(error.failures()[1].index == 4);
        CHECK_THROWS_AS(std::rethrow_exception(error.failures()[0].error), Unroutable);
        CHECK_THAT(error.what(), Contains("2 of 6") && Contains("NO_ROUTE"));
        CHECK_FALSE(error.is_retryable());
    }
    auto from = queue({.no_ack = true});
    for (const int i : {0, 2, 3, 5}) CHECK(from.get(soon).payload() == i);
    CHECK(batch.size() == 2);
    connection.default_channel().queue_bind(topology.queue.name(), topology.exchange.name(), "nobody");
    batch.commit(10s);
    for (const int i : {1, 4}) CHECK(from.get(soon).payload() == i);
}

TEST_CASE_METHOD(Messaging, "a batch keeps bodies of every size, also those of messages that failed before others came",
                 "[batch][errors]") {
    producer.maybe_declare(topology.queue);
    const auto body = [](int i) {  // the largest ones do not share memory with others
        return std::string(static_cast<std::size_t>(i % 4 == 3   ? 20'000 + i
                                                    : i % 4 == 2 ? 3'000
                                                                 : 100),
                           'a') +
               std::to_string(i);
    };
    constexpr int count = 40;
    Batch batch = producer.batch();
    for (int i = 0; i < count; ++i) {
        auto options = to_queue();
        options.routing_key = i % 2 == 0 ? "nobody" : "key";
        options.mandatory = true;
        batch.publish(body(i), options);
    }
    CHECK_THROWS_AS(batch.commit(10s), BatchError);
    REQUIRE(batch.size() == count / 2);
    for (int i = count; i < 2 * count; ++i) batch.publish(body(i), to_queue());
    connection.default_channel().queue_bind(topology.queue.name(), topology.exchange.name(), "nobody");
    batch.commit(10s);
    CHECK(batch.empty());
    batch.publish(body(0), to_queue());
    batch.commit(10s);
    auto from = queue({.no_ack = true});
    for (int i = 1; i < count; i += 2) CHECK(from.get(soon).payload() == body(i));
    for (int i = 0; i < count; i += 2) CHECK(from.get(soon).payload() == body(i));
    for (int i = count; i < 2 * count; ++i) CHECK(from.get(soon).payload() == body(i));
    CHECK(from.get(soon).payload() == body(0));
}

TEST_CASE_METHOD(Messaging, "of a large batch exactly those messages fail that no queue takes", "[batch][errors]") {
    producer.maybe_declare(topology.queue);
    constexpr std::size_t count = 1000;
    const auto is_unroutable = [](std::size_t i) { return i % 2 == 0 || i % 10 == 7; };
    Batch batch = producer.batch();
    for (std::size_t i = 0; i < count; ++i) {
        auto options = to_queue();
        options.routing_key = is_unroutable(i) ? "nobody" : "key";
        options.mandatory = true;
        batch.publish("message " + std::to_string(i), options);
    }
    std::vector<std::size_t> expected, failed;
    for (std::size_t i = 0; i < count; ++i)
        if (is_unroutable(i)) expected.push_back(i);
    try {
        batch.commit(10s);
    } catch (const BatchError& error) {
        for (const auto& failure : error.failures()) failed.push_back(failure.index);
    }
    CHECK(failed == expected);
}

TEST_CASE_METHOD(Messaging, "each declaration of a batch has its callback, also where another equals it", "[batch]") {
    int calls = 0;
    const std::string name = unique("test.queue");
    const Queue plain{name, topology.exchange, "key", {.auto_delete = true}};
    const Queue with_callback{
        name, topology.exchange, "key", {.auto_delete = true, .on_declared = [&](const QueueInfo&) { ++calls; }}};
    Batch batch = producer.batch();
    for (const Queue& queue : {plain, with_callback}) {
        auto options = to_queue();
        options.declare.push_back(queue);
        batch.publish("text", options);
    }
    batch.commit(10s);
    CHECK(calls == 1);
    connection.default_channel().queue_delete(name);
}

TEST_CASE_METHOD(Messaging, "a batch takes no message while it is committed", "[batch][errors]") {
    std::string error;
    Batch batch = producer.batch();
    const Queue declared{topology.queue.name(), topology.exchange, "key", {.on_declared = [&](const QueueInfo&) {
                             batch.clear();
                             try {
                                 batch.publish("late", to_queue());
                             } catch (const LeaseError& refused) {
                                 error = refused.what();
                             }
                         }}};
    auto options = to_queue();
    options.declare = {declared};
    for (int i = 0; i < 3; ++i) batch.publish(i, options);
    batch.commit(10s);
    CHECK_THAT(error, Contains("being committed"));
    CHECK(batch.empty());
    auto from = queue({.no_ack = true});
    for (int i = 0; i < 3; ++i) CHECK(from.get(soon).payload() == i);
    batch.publish("later", to_queue());
    CHECK(batch.size() == 1);
}

TEST_CASE_METHOD(Messaging, "a declaration that is refused fails the messages that asked for it", "[batch][errors]") {
    producer.maybe_declare(topology.queue);
    Batch batch = producer.batch();
    batch.publish(1, to_queue());
    auto options = to_queue();
    options.declare = {Exchange{topology.exchange.name(), "fanout"}};
    batch.publish(2, options);
    batch.publish(3, to_queue());
    try {
        batch.commit(10s);
        FAIL("committed");
    } catch (const BatchError& error) {
        REQUIRE(error.failures().size() == 1);
        CHECK(error.failures()[0].index == 1);
        CHECK_THROWS_AS(std::rethrow_exception(error.failures()[0].error), NotEquivalentError);
    }
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).payload() == 1);
    CHECK(from.get(soon).payload() == 3);
}

TEST_CASE_METHOD(Messaging, "a message that cannot be encoded leaves the batch unchanged", "[batch][errors]") {
    Batch batch = producer.batch();
    batch.publish(1, to_queue());
    auto options = to_queue();
    options.priority = 256;
    CHECK_THROWS_AS(batch.publish(2, options), ConfigurationError);
    CHECK_THROWS_AS(batch.publish(2, to_queue("pickle")), SerializerNotInstalled);
    CHECK(batch.size() == 1);
    batch.clear();
    CHECK(batch.empty());
}

TEST_CASE("a batch of a released producer sends nothing", "[batch][pools]") {
    Connection connection{broker_url()};
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    auto producer = producers[connection].acquire();
    Batch batch = producer->batch();
    batch.publish(1, {.routing_key = "nowhere"});
    producer.release();
    CHECK_THROWS_AS(batch.commit(1s), LeaseError);
    CHECK_THROWS_AS(batch.publish(1), LeaseError);
    Batch moved = std::move(batch);
    CHECK(moved.size() == 1);
    CHECK(batch.empty());
    CHECK_THROWS_AS(batch.publish(1), LeaseError);
    CHECK_THROWS_AS(batch.commit(), LeaseError);
}

TEST_CASE("a batch without a broker fails as a whole, and within its timeout", "[batch][errors]") {
    Connection nobody{"amqp://127.0.0.1:1//"};
    Producer producer{nobody};
    Batch batch = producer.batch();
    for (int i = 0; i < 3; ++i)
        batch.publish(i, {.routing_key = "x", .retry = true, .retry_policy = {.max_retries = 2, .interval_step = 0ms}});
    const auto start = Clock::now();
    try {
        batch.commit(2s);
        FAIL("committed");
    } catch (const BatchError& error) {
        CHECK(error.failures().size() == 3);
        CHECK_THROWS_AS(std::rethrow_exception(error.failures()[2].error), ConnectionError);
        CHECK(error.is_retryable());
    }
    CHECK(Clock::now() - start < 2s);
    CHECK(batch.size() == 3);
}

TEST_CASE("without confirms a batch after a refused message reports it, and is not counted sent", "[batch][errors]") {
    Messaging messaging;
    messaging.producer.maybe_declare(messaging.topology.queue);
    Connection connection{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    Producer producer{connection};
    Batch lost = producer.batch();
    lost.publish(1, {.exchange = Exchange{unique("no.such.exchange")}, .routing_key = "key"});
    bool reported = false;
    try {
        lost.commit(5s);
    } catch (const BatchError&) {
        reported = true;  // when the broker answers at once
    }
    int sent = 0;
    for (const Deadline end = Deadline::after(10s); !reported && !end.expired();) {
        Batch batch = producer.batch();
        batch.publish(2, {.exchange = messaging.topology.exchange, .routing_key = "key"});
        try {
            batch.commit(5s);
            ++sent;
        } catch (const BatchError&) {
            reported = true;
        }
    }
    CHECK(reported);
    Batch batch = producer.batch();
    batch.publish(3, {.exchange = messaging.topology.exchange, .routing_key = "key"});
    batch.commit(5s);
    auto from = messaging.queue({.no_ack = true});
    CHECK(eventually([&] { return from.get(soon).payload() == 3; }));
}
