// SPDX-License-Identifier: BSD-3-Clause
// What only Redis needs of consumers: renewal of what they hold, the order of queues, and fetching several messages.
#include "redis/redis_fixture.hpp"
#include "support/background_loop.hpp"
#include "support/eventually.hpp"

#include <atomic>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

const Json short_visibility = {{"visibility_timeout", 1}, {"unacked_restore_interval", 0.2}};

}  // namespace

TEST_CASE("N14 what a living consumer holds is renewed, also while its handler runs, and nobody else gets it",
          "[redis][consumer]") {
    Prefixed redis;
    Connection ours = redis.connection(short_visibility), theirs = redis.connection(short_visibility);
    const Queue queue{"q"};
    Consumer consumer{ours, {queue}};
    int calls = 0;
    auto rival = theirs.simple_queue(queue);
    consumer.on_message([&](Message& message) {
        ++calls;
        // Its thread does nothing for the connection meanwhile.
        for (int i = 0; i < 6; ++i) CHECK_THROWS_AS(rival.get({.timeout = 500ms}), Empty);
        message.ack();
    });
    consumer.consume();
    Producer{theirs}.publish("slow", {.routing_key = "q"});
    CHECK(ours.drain_events(10s));
    CHECK(calls == 1);
    CHECK(redis.unacked_count() == 0);
    CHECK_THROWS_AS(rival.get({.timeout = 300ms}), Empty);
}

TEST_CASE("N14 a waiting consumer renews what it holds", "[redis][consumer]") {
    Prefixed redis;
    Connection ours = redis.connection(short_visibility), theirs = redis.connection(short_visibility);
    const Queue queue{"q"};
    Consumer consumer{ours, {queue}};
    std::vector<Message> held;
    consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
    consumer.consume();
    Producer{theirs}.publish("held", {.routing_key = "q"});
    CHECK(ours.drain_events(10s));
    std::atomic<bool> done{false}, stolen{false};
    std::thread rival{[&] {
        auto other = theirs.simple_queue(queue);
        try {
            other.get({.timeout = 3s});
            stolen = true;
        } catch (const Empty&) {
        }
        done = true;
    }};
    while (!done) CHECK_FALSE(ours.drain_events(100ms));
    rival.join();
    CHECK_FALSE(stolen);
    held[0].ack();
    CHECK_FALSE(ours.drain_events(50ms));
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("N14 the settlement of a former holder changes nothing", "[redis][consumer]") {
    Prefixed redis;
    Connection ours = redis.connection(short_visibility), theirs = redis.connection(short_visibility);
    auto former = ours.simple_queue("q"), holder = theirs.simple_queue("q");
    former.put("x");
    Message expired = former.get(soon);  // a SimpleQueue does not renew
    Message held = holder.get(soon);
    CHECK(held.redelivered());
    CHECK(redis.unacked_count() == 1);
    expired.ack();
    CHECK(redis.unacked_count() == 1);
    CHECK(redis.length("q") == 0);
    held.requeue();
    CHECK(redis.length("q") == 1);
    Message again = holder.get(soon);
    CHECK(again.payload() == "x");
    again.ack();
}

TEST_CASE("a consumer takes several messages at once, and acknowledges several at once", "[redis][consumer]") {
    Prefixed redis;
    Connection connection = redis.connection();
    Producer producer{connection};
    const Queue queue{"q"};
    Consumer consumer{connection, {queue}, {.prefetch_count = 50}};
    int count = 0;
    consumer.on_message([&](Message& message) {
        ++count;
        message.ack();
    });
    consumer.consume();
    Batch batch = producer.batch();
    for (int n = 0; n < 200; ++n) batch.publish(n, {.routing_key = "q"});
    batch.commit(10s);
    const auto calls = [&](const char* command) {
        const std::string text = redis.raw({"INFO", "commandstats"});
        const std::string key = std::string{"cmdstat_"} + command + ":calls=";
        const auto at = text.find(key);
        return at == std::string::npos ? 0L : std::stol(text.substr(at + key.size()));
    };
    const auto before = calls("evalsha") + calls("hdel");
    while (count < 200) REQUIRE(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(20ms));
    // Other tests use the server at the same time: with a command for each message there were 400.
    CHECK(calls("evalsha") + calls("hdel") - before < 300);
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("R15 the queues of a consumer are looked at in the order of queue_order_strategy", "[redis][consumer]") {
    Prefixed redis;
    const auto order = [&](const char* strategy) {
        Connection connection = redis.connection({{"queue_order_strategy", strategy}});
        Producer producer{connection};
        for (const char* name : {"c", "a", "b"})
            for (int n = 0; n < 2; ++n) producer.publish(name, {.routing_key = name});
        Consumer consumer{connection, {Queue{"c"}, Queue{"a"}, Queue{"b"}}, {.prefetch_count = 1}};
        std::string seen;
        consumer.on_message([&](Message& message) {
            seen += message.payload().get<std::string>();
            message.ack();
        });
        consumer.consume();
        while (seen.size() < 6) REQUIRE(connection.drain_events(10s));
        return seen;
    };
    CHECK(order("priority") == "ccaabb");
    CHECK(order("sorted") == "aabbcc");
    CHECK(order("round_robin") == "cababc");  // each once, and then from the next one on
}

TEST_CASE("the priorities of messages are respected by consumers", "[redis][consumer]") {
    Prefixed redis;
    Connection connection = redis.connection();
    Producer producer{connection};
    for (const int priority : {9, 0, 6, 3}) producer.publish(priority, {.routing_key = "q", .priority = priority});
    Consumer consumer{connection, {Queue{"q"}}, {.prefetch_count = 1}};
    std::vector<int> seen;
    consumer.on_message([&](Message& message) {
        seen.push_back(message.payload().get<int>());
        message.ack();
    });
    consumer.consume();
    while (seen.size() < 4) REQUIRE(connection.drain_events(10s));
    CHECK(seen == std::vector<int>{0, 3, 6, 9});
}

TEST_CASE("a message that is retried waits in a sorted set, and survives its consumer", "[redis][loop]") {
    Prefixed redis;
    const Queue queue{"q"};
    Connection connection = redis.connection({{"unacked_restore_interval", 0.1}});
    Producer{connection}.publish(1, {.routing_key = "q"});
    const ConsumerLoopOptions options{
        .on_failure = {.then = FailurePolicy::retry, .max_attempts = 2, .interval_start = 300ms}};
    std::atomic<int> calls{0};
    {
        ConsumerLoop loop{connection, {queue}, options};
        loop.on_message([&](Message&) {
            ++calls;
            throw std::runtime_error("no");
        });
        BackgroundLoop background{loop};
        CHECK(eventually([&] { return loop.stats().retried == 1; }));
        background.stop();
    }
    CHECK(redis({"ZCARD", "q._kombu.delayed"}) == 1);
    CHECK(redis.unacked_count() == 0);
    ConsumerLoop successor{connection, {queue}, options};
    successor.on_message([&](Message& message) {
        if (message.headers()["x-kombu-attempt"] == 2) ++calls;
    });
    BackgroundLoop background{successor};
    CHECK(eventually([&] { return successor.stats().acknowledged == 1; }));
    background.stop();
    CHECK(calls == 2);
    CHECK(redis({"ZCARD", "q._kombu.delayed"}) == 0);
}

TEST_CASE("an error of the server does not make a loop spin", "[redis][loop]") {
    Prefixed redis;
    Connection connection = redis.connection();
    struct Counts : ConsumerObserver {
        std::atomic<int> lost{0}, failed{0};
        void on_lost(const std::exception&) override { ++lost; }
        void on_attempt_failed(const std::exception&, std::chrono::milliseconds) override { ++failed; }
    };
    const auto observer = std::make_shared<Counts>();
    ConsumerLoop loop{connection, {Queue{"q"}}, {.observer = observer}};
    loop.on_message([](Message&) {});
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return loop.stats().consumes == 1; }));
    redis({"SET", "q", "no list"});
    CHECK(eventually([&] { return observer->failed >= 4; }));
    CHECK(observer->lost <= 6);
    redis({"DEL", "q"});
    Producer{connection}.publish(1, {.routing_key = "q"});
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    background.stop();
}
