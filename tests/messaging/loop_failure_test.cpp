// SPDX-License-Identifier: BSD-3-Clause
// What a ConsumerLoop does with the messages of handlers that fail. Runs against memory, RabbitMQ and Redis.
#include "support/background_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"
#include "support/looping.hpp"

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Looping, "N12 a failing handler rejects by default, and the loop goes on", "[loop]") {
    publish(10);
    ConsumerLoop loop{connection, {topology.queue}};
    const LogCapture logged;
    loop.on_message([&](Message& message) {
        record(message);
        if (message.payload() == 3) throw std::runtime_error("cannot handle three");
        if (message.payload() == 4) throw 4;
    });
    BackgroundLoop background{loop};
    await_seen(10);
    const StopReport report = background.stop();
    CHECK(seen == numbers(10));
    CHECK(report.handled == 10);
    CHECK(loop.stats().failed == 2);
    CHECK(loop.stats().rejected == 2);
    CHECK(ready() == 0);
    CHECK_THAT(logged.text(), Contains("cannot handle three"));
}

TEST_CASE_METHOD(Looping, "N12 requeueing is slowed down while other messages go on", "[loop]") {
    publish(20);
    ConsumerLoop loop{connection, {topology.queue}, {.on_failure = {.then = FailurePolicy::requeue}}};
    std::atomic<int> sevens{0};
    loop.on_message([&](Message& message) {
        if (message.payload() == 7) {
            ++sevens;
            throw std::runtime_error("again");
        }
        record(message);
    });
    const auto start = Clock::now();
    BackgroundLoop background{loop};
    await_seen(19);
    CHECK(eventually([&] { return sevens >= 4; }));
    const auto elapsed = Clock::now() - start;
    background.stop();
    CHECK(sevens <= 2 + elapsed / 100ms);
    CHECK(eventually([&] { return ready() == 1; }));
}

TEST_CASE_METHOD(Looping, "N12 a retried message comes again after the delay, exactly so often, and is rejected then",
                 "[loop]") {
    auto options = to_queue();
    options.headers = {{"trace", "t"}};
    options.message_id = "m1";
    producer.publish(Json{{"n", 1}}, options);
    ConsumerLoop loop{
        connection,
        {topology.queue},
        {.on_failure = {
             .then = FailurePolicy::retry, .max_attempts = 3, .interval_start = 200ms, .interval_step = 100ms}}};
    std::vector<Clock::time_point> calls;
    loop.on_message([&](Message& message) {
        expect(message.payload() == Json{{"n", 1}});
        expect(message.headers()["trace"] == "t");
        expect(message.properties().message_id == "m1");
        expect(message.delivery_info().exchange == topology.exchange.name());
        expect(message.delivery_info().routing_key == "key");
        const std::lock_guard lock{mutex};
        calls.push_back(Clock::now());
        throw std::runtime_error("not yet");
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().rejected == 1; }));
    background.stop();
    REQUIRE(calls.size() == 3);
    CHECK(calls[1] - calls[0] >= 200ms);
    CHECK(calls[2] - calls[1] >= 300ms);
    CHECK(loop.stats().retried == 2);
    CHECK(ready() == 0);
    check_sum(loop.stats());
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a handler returns or throws what is to be done with its message", "[loop]") {
    publish(4);
    ConsumerLoop loop{connection, {topology.queue}};
    std::atomic<int> calls{0};
    loop.on_message([&](Message& message) -> Outcome {
        ++calls;
        const int n = message.payload();
        const bool again = message.redelivered();
        if (n == 1 && !again) throw Requeue{};
        if (n == 2) throw Reject{};
        if (n == 3 && !again) return Outcome::requeue;
        return n == 0 ? Outcome::reject : Outcome::acknowledge;
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 2 && loop.stats().rejected == 2; }));
    background.stop();
    CHECK(calls == 6);
    CHECK(loop.stats().requeued == 2);
    CHECK(loop.stats().failed == 0);
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Looping, "N13 poison is rejected or reported, and the others are handled", "[loop]") {
    const PublishOptions poison{
        .exchange = topology.exchange, .routing_key = "key", .content_type = "application/json"};
    publish(1);
    {
        Batch batch = producer.batch();
        for (int i = 0; i < 50; ++i) {
            batch.publish("{", poison);
            batch.publish(i + 1, to_queue());
        }
        batch.commit(30s);
    }
    for (const bool reported : {false, true}) {
        if (reported) {
            publish(51);
            producer.publish("{", poison);
        }
        seen.clear();
        ConsumerLoop loop{connection, {topology.queue}};
        loop.on_message([&](Message& message) { record(message); });
        std::atomic<int> reports{0};
        if (reported)
            loop.on_decode_error([&](Message& message, const Error&) {
                ++reports;
                message.ack();
            });
        BackgroundLoop background{loop};
        await_seen(51);
        CHECK(
            eventually([&] { return loop.stats().rejected + static_cast<unsigned>(reports) == (reported ? 1 : 50); }));
        background.stop();
        CHECK(seen.size() == 51);
        CHECK(ready() == 0);
        CHECK(reports == (reported ? 1 : 0));
    }
}

TEST_CASE_METHOD(Looping, "with AckMode::on_receipt a failing handler loses its message", "[loop]") {
    publish(3);
    ConsumerLoop loop{connection, {topology.queue}, {.ack = AckMode::on_receipt}};
    loop.on_message([&](Message& message) {
        record(message);
        expect(message.acknowledged());
        throw std::runtime_error("too late");
    });
    BackgroundLoop background{loop};
    await_seen(3);
    background.stop();
    CHECK(ready() == 0);
    CHECK(loop.stats().acknowledged == 3);
    check_sum(loop.stats());
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a message that is destroyed unsettled is requeued, once, and counted", "[loop]") {
    publish(1);
    ConsumerLoop loop{connection, {topology.queue}, {.ack = AckMode::manual}};
    std::atomic<int> calls{0};
    loop.on_message([&](Message& message) {
        if (++calls == 1) return;
        expect(message.redelivered());
        message.ack();
    });
    const LogCapture logged;
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return calls == 2; }));
    background.stop();
    CHECK(loop.stats().dropped_unsettled == 1);
    CHECK(loop.stats().requeued == 1);
    CHECK(ready() == 0);
    CHECK_THAT(logged.text(), Contains("destroyed without a settlement"));
    check_sum(loop.stats());
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a handler that takes too long is reported, and asked to stop", "[loop]") {
    publish(1);
    ConsumerLoop loop{connection, {topology.queue}, {.handler_timeout = 30ms}};
    const LogCapture logged;
    std::atomic<bool> asked{false};
    loop.on_message([&](Message&, std::stop_token stop) {
        while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
        asked = true;
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return asked.load(); }));
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    background.stop();
    CHECK_THAT(logged.text(), Contains("longer than its handler_timeout"));
}

TEST_CASE_METHOD(Looping, "on_decode_error and batch handlers may throw Reject and Requeue too", "[loop]") {
    producer.publish("{", {.exchange = topology.exchange,
                           .routing_key = "key",
                           .declare = {topology.exchange, topology.queue},
                           .content_type = "application/json"});
    {
        ConsumerLoop loop{connection, {topology.queue}};
        loop.on_message([](const Json&, Message&) {});
        std::atomic<int> calls{0};
        loop.on_decode_error([&](Message& message, const Error&) {
            ++calls;
            if (!message.redelivered()) throw Requeue{};
            throw Reject{};
        });
        BackgroundLoop background{loop};
        CHECK(eventually([&] { return loop.stats().rejected == 1; }));
        background.stop();
        CHECK(calls == 2);
        CHECK(loop.stats().requeued == 1);
    }
    publish(2);
    ConsumerLoop loop{connection, {topology.queue}};
    loop.on_batch({.max = 2}, [](std::span<Message> messages) {
        if (!messages.front().redelivered()) throw Requeue{};
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 2; }));
    background.stop();
    CHECK(loop.stats().requeued == 2);
    CHECK(loop.stats().failed == 0);
}

TEST_CASE_METHOD(Looping, "N12 a message of a queue with a long name is retried too", "[loop]") {
    const Queue queue{unique("long") + std::string(225, 'x'), {.expires = 60s}};
    producer.publish(1, {.routing_key = queue.name(), .declare = {queue}});
    ConsumerLoop loop{
        connection, {queue}, {.on_failure = {.then = FailurePolicy::retry, .max_attempts = 2, .interval_start = 10ms}}};
    std::atomic<int> calls{0};
    loop.on_message([&](Message&) {
        if (++calls == 1) throw std::runtime_error("once");
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    background.stop();
    CHECK(calls == 2);
    other.default_channel().queue_delete(queue.name());
}
