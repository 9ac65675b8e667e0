// SPDX-License-Identifier: BSD-3-Clause
// SimpleQueue, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Messaging, "get on an empty queue throws Empty, at once or after the timeout", "[queue]") {
    auto from = queue();
    CHECK_THROWS_AS(from.get({.block = false}), Empty);
    CHECK_THROWS_AS(from.get_nowait(), Empty);
    const auto start = Clock::now();
    CHECK_THROWS_AS(from.get({.block = true, .timeout = 60ms}), Empty);
    CHECK(Clock::now() - start >= 60ms);
    CHECK(Clock::now() - start < 5s);
    // The channel is still usable.
    from.put(1);
    CHECK(from.get(soon).payload() == 1);
}

TEST_CASE_METHOD(Messaging, "a waiting get returns a message that arrives", "[queue]") {
    auto from = queue();
    std::thread sender{[&] {
        Connection other{broker_url()};
        auto to = other.simple_queue(topology.queue);
        to.put("late");
    }};
    Message message = from.get(soon);
    sender.join();
    CHECK(message.payload() == "late");
    message.ack();
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "a waiting get does not hold back messages from others", "[queue]") {
    auto from = queue();
    Connection other{broker_url()};
    auto theirs = other.simple_queue(topology.queue);
    std::thread sender{[&] {
        Connection third{broker_url()};
        auto to = third.simple_queue(topology.queue);
        for (int i = 0; i < 5; ++i) to.put(i);
    }};
    Message mine = from.get(soon);
    sender.join();
    for (int i = 0; i < 4; ++i) CHECK_NOTHROW(theirs.get(soon).ack());
    mine.ack();
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "a get may wait while an earlier message is not settled", "[queue]") {
    auto from = queue();
    std::thread sender{[&] {
        Connection other{broker_url()};
        auto to = other.simple_queue(topology.queue);
        to.put(1);
        to.put(2);
    }};
    Message first = from.get(soon);
    Message second = from.get(soon);
    sender.join();
    CHECK(first.payload() == 1);
    CHECK(second.payload() == 2);
    first.ack();
    second.ack();
}

TEST_CASE_METHOD(Messaging, "a get with a zero timeout returns an available message, and loses none", "[queue]") {
    for (int i = 0; i < 4; ++i) producer.publish(i, to_queue());
    auto taking = queue({.no_ack = true});
    CHECK(taking.get({.block = true, .timeout = 0s}).payload() == 0);
    CHECK(taking.get({.block = true, .timeout = 1us}).payload() == 1);
    auto holding = queue();
    Message second = holding.get({.block = true, .timeout = 0s});
    CHECK(second.payload() == 2);
    CHECK(holding.get({.block = false, .timeout = 0s}).payload() == 3);
    CHECK_THROWS_AS(holding.get({.block = true, .timeout = 0s}), Empty);
    CHECK_NOTHROW(second.ack());
}

TEST_CASE("a get that finds nothing in an auto-delete queue disturbs nothing else", "[queue]") {
    Topology jobs, replies{"direct", {.auto_delete = true}};
    Connection connection{broker_url()};
    auto from = connection.simple_queue(jobs.queue), answers = connection.simple_queue(replies.queue, {.no_ack = true});
    from.put(1);
    Message job = from.get(soon);
    CHECK_THROWS_AS(answers.get({.block = true, .timeout = 50ms}), Empty);
    CHECK_NOTHROW(job.ack());
    answers.put(2);
    CHECK(answers.get({.block = true, .timeout = 50ms}).payload() == 2);
}

TEST_CASE("an auto-delete queue outlives a get that waits", "[queue]") {
    Topology topology{"direct", {.auto_delete = true}};
    Connection connection{broker_url()};
    auto queue = connection.simple_queue(topology.queue);
    CHECK_THROWS_AS(queue.get({.block = true, .timeout = 30ms}), Empty);
    queue.put(1);
    CHECK(queue.get(soon).payload() == 1);
}

TEST_CASE("an auto-delete queue outlives a get that waits on a new session", "[queue]") {
    Topology topology{"direct", {.auto_delete = true}};
    Connection connection{broker_url()};
    auto queue = connection.simple_queue(topology.queue);
    connection.release();
    CHECK_THROWS_AS(queue.get({.block = true, .timeout = 30ms}), Empty);
    queue.put(1);
    CHECK(queue.get(soon).payload() == 1);
}

TEST_CASE("an exclusive queue belongs to its connection and is deleted with it", "[queue][errors]") {
    Topology topology{"direct", {.exclusive = true}};
    Connection other{broker_url()};
    {
        Connection owner{broker_url()};
        auto queue = owner.simple_queue(topology.queue);
        queue.put(1);
        CHECK(queue.get(soon).payload() == 1);
        if (!on_redis()) {  // Redis does not record the owner
            try {
                (void)other.channel().basic_get(topology.queue.name());
                FAIL("got from an exclusive queue");
            } catch (const ChannelError& error) {
                CHECK(error.code() == 405);
            }
        }
        owner.release();
    }
    CHECK(eventually([&] {
        try {
            (void)other.channel().queue_declare(Queue(topology.queue.name(), {}, {}, {.passive = true}));
            return false;
        } catch (const ChannelError& error) {
            return error.code() == 404;
        }
    }));
}

TEST_CASE_METHOD(Messaging, "a get that waits for a queue that is deleted ends with an error", "[queue][errors]") {
    auto from = queue();
    std::thread deleter{[&] {
        Connection other{broker_url()};
        auto channel = other.channel();
        // The consumer waits by then, or finds the queue deleted; both must end.
        channel.queue_delete(topology.queue.name());
    }};
    if (on_redis())  // on Redis a missing queue is an empty one
        CHECK_THROWS_AS(from.get({.timeout = 50ms}), Empty);
    else
        CHECK_THROWS_AS(from.get(soon), ChannelError);
    deleter.join();
}

TEST_CASE("C25 SimpleQueue puts, counts, gets and clears", "[queue]") {
    Connection connection{broker_url()};
    const std::string name = unique("test.simple");
    auto queue = connection.simple_queue(name, {.serializer = "json", .compression = "zlib"});
    CHECK(queue.qsize() == 0);
    for (int i = 0; i < 3; ++i) queue.put(i);
    CHECK(eventually([&] { return queue.qsize() == 3; }));
    Message first = queue.get(soon);
    CHECK(first.payload() == 0);
    CHECK(first.headers().contains("compression"));
    first.ack();
    CHECK(queue.clear() == 2);
    CHECK(queue.qsize() == 0);
    CHECK(queue.queue().exchange().name() == name);
    connection.channel().queue_delete(name);
    connection.channel().exchange_delete(name);
}

TEST_CASE("a SimpleQueue declares its queue again when it was deleted", "[queue]") {
    Connection connection{broker_url()}, other{broker_url()};
    const std::string name = unique("test.simple");
    connection.simple_queue(name).put(1);
    other.channel().queue_delete(name);
    auto queue = connection.simple_queue(name);
    queue.put(2);
    CHECK(queue.get(soon).payload() == 2);
    connection.channel().queue_delete(name);
    connection.channel().exchange_delete(name);
}

TEST_CASE_METHOD(Messaging, "put to a queue that was deleted is an error, and no silent loss", "[queue][errors]") {
    auto to = queue();
    to.put(1);
    Connection other{broker_url()};
    other.default_channel().queue_delete(topology.queue.name());
    CHECK_THROWS_AS(to.put(2), ChannelError);  // Unroutable, except on Redis: its exchange is gone too
}
