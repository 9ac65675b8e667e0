// SPDX-License-Identifier: BSD-3-Clause
// Restoring messages whose visibility timeout has expired.
#include "redis/redis_fixture.hpp"
#include "support/child.hpp"

#include <csignal>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const Json fast_restore = {{"visibility_timeout", 0.05}, {"unacked_restore_interval", 0.02}};

/// The server's clock measures the visibility timeout, so the tests must sleep.
void wait_for_visibility_timeout() { std::this_thread::sleep_for(80ms); }

}  // namespace

TEST_CASE("R5 an expired message is restored to the queue it came from, and to no other", "[redis][restore]") {
    Prefixed redis;
    Connection holder = redis.connection(), other = redis.connection(fast_restore);
    const Exchange exchange{"ex"};
    const Queue a{"a", exchange, "k"}, b{"b", exchange, "k"};
    Producer{holder}.publish(1, {.exchange = exchange, .routing_key = "k", .declare = {a, b}, .priority = 6});
    Message held = holder.simple_queue(a).get(soon);
    wait_for_visibility_timeout();
    Message again = other.simple_queue(a).get(soon);
    CHECK(again.redelivered());
    CHECK(again.payload() == 1);
    CHECK(again.delivery_info().exchange == "ex");
    CHECK(redis.length("b" + separator + "6") == 1);
    // The first consumer is too late to requeue it a second time.
    held.requeue();
    CHECK(redis.length("a" + separator + "6") == 0);
    CHECK(redis.unacked_count() == 1);
    again.ack();
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("a consumer that is killed at any instant loses nothing", "[redis][restore]") {
    Prefixed redis;
    Connection connection = redis.connection(fast_restore);
    auto queue = connection.simple_queue("q");
    constexpr int messages = 200;
    for (int i = 0; i < messages; ++i) queue.put(i);
    for (int round = 0; round < 8; ++round) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            try {
                Connection own = redis.connection({{"unacked_mutex_expire", 0.05}});  // a killed child may hold it
                auto from = own.simple_queue("q");
                for (;;) (void)from.get({.timeout = 1s});
            } catch (...) {
            }
            ::_exit(0);
        }
        // The child holds a message; from then on it is killed at an arbitrary point.
        const auto held_before = redis.unacked_count();
        CHECK(eventually([&] { return redis.unacked_count() > held_before; }));
        std::this_thread::sleep_for(std::chrono::microseconds{300 * round});
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }
    CHECK(redis.length("q") + redis.unacked_count() == messages);
    wait_for_visibility_timeout();
    std::set<int> seen;
    auto consumer = connection.simple_queue("q", {.no_ack = true});
    for (int i = 0; i < messages; ++i) seen.insert(consumer.get(soon).payload().get<int>());
    CHECK(seen.size() == messages);  // each once
    CHECK_THROWS_AS(consumer.get({.timeout = 100ms}), Empty);
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("R7 one consumer at a time restores, and unacked_restore_limit bounds how many",
          "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    for (int i = 0; i < 250; ++i) queue.put(i);
    std::vector<Message> held;
    for (int i = 0; i < 250; ++i) held.push_back(queue.get(soon));
    wait_for_visibility_timeout();
    {
        Connection limited = redis.connection({{"visibility_timeout", 0.05}, {"unacked_restore_limit", 120}});
        auto from = limited.simple_queue("q");
        CHECK_NOTHROW(from.get(soon).ack());
        CHECK(redis.length("q") == 119);
        CHECK(redis.unacked_count() == 130);
    }
    redis({"SET", "unacked_mutex", "another"});
    Connection barred = redis.connection(fast_restore);
    auto from = barred.simple_queue("q");
    from.clear();
    CHECK_THROWS_AS(from.get({.timeout = 60ms}), Empty);
    CHECK(redis.unacked_count() == 130);
    CHECK(redis({"GET", "unacked_mutex"}) == "another");
    redis({"DEL", "unacked_mutex"});
    Message next = from.get(soon);
    CHECK(redis.unacked_count() == 1);
    CHECK(redis.length("q") == 129);
    // In their old order: messages held longest are delivered first.
    CHECK(next.payload().get<int>() < from.get(soon).payload().get<int>());
}

TEST_CASE("R6 unacked_restore_throttle skips later checks for expired messages", "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    queue.put(1);
    Message held = queue.get(soon);
    Json options = fast_restore;
    options["unacked_restore_throttle"] = 1000;
    Connection other = redis.connection(options);
    auto from = other.simple_queue("q");
    CHECK_THROWS_AS(from.get({.block = false}), Empty);  // the first check: nothing has expired
    wait_for_visibility_timeout();
    CHECK_THROWS_AS(from.get({.timeout = 100ms}), Empty);  // within the next 999 checks, which are skipped
    Connection new_connection = redis.connection(options);
    CHECK(new_connection.simple_queue("q").get(soon).redelivered());
}

TEST_CASE("the mutex of a consumer that died expires", "[redis][restore]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    queue.put(1);
    Message held = queue.get(soon);
    wait_for_visibility_timeout();
    redis({"SET", "unacked_mutex", "died", "PX", "100"});
    Connection other = redis.connection(fast_restore);
    CHECK(other.simple_queue("q").get(soon).redelivered());
}

TEST_CASE("a message that Kombu held is restored through its exchange, as Kombu does", "[redis][restore]") {
    Prefixed redis;
    Connection connection = redis.connection(fast_restore);
    const Exchange exchange{"ex", "topic"};
    const Queue queue{"q", exchange, "a.*"};
    auto from = connection.simple_queue(queue);
    const std::string envelope =
        R"({"body": "MQ==", "content-encoding": "utf-8", "content-type": "application/json", "headers": {}, )"
        R"("properties": {"delivery_mode": 2, "delivery_info": {"exchange": "ex", "routing_key": "a.b"}, )"
        R"("priority": 3, "body_encoding": "base64", "delivery_tag": "t1"}})";
    redis({"HSET", "unacked", "t1", '[' + envelope + R"(, "ex", "a.b"])"});
    redis({"ZADD", "unacked_index", "1000.5", "t1"});
    redis({"ZADD", "unacked_index", "1000.5", "gone"});  // in the index, but without a record
    Message message = from.get(soon);
    CHECK(message.payload() == 1);
    CHECK(message.redelivered());
    CHECK(redis({"ZSCORE", "unacked_index", "gone"}) == nullptr);
    message.requeue();
    CHECK(redis.length("q" + separator + "3") == 1);
}

TEST_CASE("records that cannot be parsed or routed are quarantined", "[redis][restore][errors]") {
    Prefixed redis;
    redis({"HSET", "unacked", "t1", "not json"});
    redis({"HSET", "unacked", "t2", R"([{"body": "", "properties": {}}, "no.such.exchange", "rk"])"});
    for (const char* tag : {"t1", "t2"}) redis({"ZADD", "unacked_index", "1000", tag});
    const LogCapture logged;
    Connection connection = redis.connection(fast_restore);
    CHECK_THROWS_AS(connection.simple_queue("q").get({.block = false}), Empty);
    CHECK_THAT(logged.text(), Contains("unreadable record") && Contains("no queue to return to"));
    CHECK(redis({"LINDEX", "_kombu.poison.unacked", "0"}) == "not json");
    CHECK(redis({"LINDEX", "_kombu.poison.rk", "0"}) == R"({"body": "", "properties": {}})");
    CHECK(redis.unacked_count() == 0);
    CHECK(redis({"ZCARD", "unacked_index"}) == 0);
}

TEST_CASE("a waiting consumer gets restored messages within the polling interval", "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    queue.put(1);
    Message held = queue.get(soon);
    Json options = fast_restore;
    options["polling_interval"] = 0.02;
    Connection other = redis.connection(options);
    CHECK(other.simple_queue("q").get(soon).redelivered());
}

TEST_CASE("large messages are restored in several steps, within the caller's timeout", "[redis][restore]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    const std::string large(1'200'000, 'x');
    std::vector<Message> held;
    for (int i = 0; i < 6; ++i) queue.put(large);
    for (int i = 0; i < 6; ++i) held.push_back(queue.get(soon));
    wait_for_visibility_timeout();
    Connection other = redis.connection(fast_restore);
    auto from = other.simple_queue("q", {.no_ack = true});
    int received = 0;
    for (const Deadline end = Deadline::after(100s); received < 6 && !end.expired();) {
        try {
            (void)from.get({.timeout = 20s});
            ++received;
        } catch (const Empty&) {
        }
        CHECK(other.connected());
    }
    CHECK(received == 6);
    CHECK(redis.unacked_count() == 0);
    CHECK(redis({"EXISTS", "unacked_mutex"}) == 0);
}
