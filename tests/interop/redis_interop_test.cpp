// SPDX-License-Identifier: BSD-3-Clause
// How C++ and Kombu restore, requeue and order each other's messages on Redis.
#include "redis/redis_fixture.hpp"
#include "support/python_peer.hpp"

using namespace kombu;
using namespace std::chrono_literals;

namespace {

const Json fast_restore = {{"visibility_timeout", 0.3}, {"unacked_restore_interval", 0.05}};

PythonPeer kombu_peer(const Prefixed& redis, Json options = Json::object()) {
    options["global_keyprefix"] = redis.prefix;
    return PythonPeer{{KOMBU_TEST_PEER, broker_url(), options.dump()}};
}

}  // namespace

TEST_CASE("a message that Kombu received and never acknowledged is restored by C++", "[interop][redis]") {
    Prefixed redis;
    Connection connection = redis.connection(fast_restore);
    const Exchange exchange{"ex", "topic"};
    const Queue queue{"q", exchange, "a.*"};
    auto from = connection.simple_queue(queue);
    from.put(Json{{"n", 1}}, {.routing_key = "a.b", .priority = 6});
    PythonPeer peer = kombu_peer(redis);
    peer({{"do", "listen"}, {"queue", {"q", "ex", "topic", "a.*"}}});
    const Json seen = peer({{"do", "receive"}, {"ack", false}})["messages"];
    REQUIRE(seen.size() == 1);
    CHECK(redis.unacked_count() == 1);
    peer.kill();
    Message message = from.get({.timeout = 10s});
    CHECK(message.payload() == Json{{"n", 1}});
    CHECK(message.redelivered());
    message.ack();
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("a message that C++ received and never acknowledged is restored by Kombu", "[interop][redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    const Exchange exchange{"ex"};
    const Queue queue{"q", exchange, "k"}, other{"other", exchange, "k"};
    Producer{connection}.publish(Json{{"n", 1}}, {.exchange = exchange, .routing_key = "k", .declare = {queue, other}});
    Message held = connection.simple_queue(queue).get({.timeout = 10s});
    std::this_thread::sleep_for(400ms);  // the visibility timeout, by the servers' and Python's clock
    PythonPeer peer = kombu_peer(redis, {{"visibility_timeout", 0.3}});
    peer({{"do", "listen"}, {"queue", {"q", "ex", "direct", "k"}}});
    const Json seen = peer({{"do", "receive"}})["messages"];
    REQUIRE(seen.size() == 1);
    CHECK(seen[0]["payload"] == Json{{"n", 1}});
    CHECK(seen[0]["redelivered"] == true);
    CHECK(redis.unacked_count() == 0);
    CHECK(redis.length("other") == 1);  // restored to its own queue only, although by Kombu
    held.ack();                         // too late, and harmless
}

TEST_CASE("N14 what a consumer in C++ holds is not restored by Kombu", "[interop][redis][consumer]") {
    Prefixed redis;
    Connection connection = redis.connection({{"visibility_timeout", 0.6}, {"unacked_restore_interval", 0.05}});
    const Queue queue{"q", Exchange{"ex"}, "k"};
    Producer{connection}.publish(1, {.exchange = queue.exchange(), .routing_key = "k", .declare = {queue}});
    Consumer consumer{connection, {queue}};
    PythonPeer peer = kombu_peer(redis, {{"visibility_timeout", 0.6}});
    std::size_t received_there = 0;
    consumer.on_message([&](Message& message) {
        // A handler that takes four times the visibility timeout, beside a consumer that looks for expired messages.
        peer({{"do", "listen"}, {"queue", {"q", "ex", "direct", "k"}}});
        for (const Deadline end = Deadline::after(2400ms); !end.expired();)
            received_there += peer({{"do", "receive"}, {"timeout", 0.05}})["messages"].size();
        message.ack();
    });
    consumer.consume();
    CHECK(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(50ms));
    CHECK(received_there == 0);
    CHECK(redis.unacked_count() == 0);
    CHECK(redis.length("q") == 0);
}

TEST_CASE("a message that C++ requeued is delivered to Kombu", "[interop][redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    auto from = connection.simple_queue("q");
    from.put("text");
    from.get({.timeout = 10s}).requeue();
    PythonPeer peer = kombu_peer(redis);
    peer({{"do", "listen"}, {"queue", {"q", "q", "direct", "q"}}});
    const Json seen = peer({{"do", "receive"}})["messages"];
    REQUIRE(seen.size() == 1);
    CHECK(seen[0]["payload"] == "text");
    CHECK(seen[0]["redelivered"] == true);
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("both read the lists of priorities in the same order", "[interop][redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    PythonPeer peer = kombu_peer(redis);
    auto queue = connection.simple_queue("q");
    for (const int priority : {9, 3, 0, 6}) {
        queue.put(priority, {.priority = priority});
        peer({{"do", "publish"}, {"exchange", "q"}, {"key", "q"}, {"body", priority}, {"priority", priority}});
    }
    for (const int priority : {0, 0, 3, 3}) CHECK(queue.get({.timeout = 10s}).payload() == priority);
    connection.release();
    CHECK(redis.length("q") == 2);
    peer({{"do", "listen"}, {"queue", {"q", "q", "direct", "q"}}});
    const Json answer = peer({{"do", "receive"}, {"count", 8}, {"timeout", 2}});
    std::vector<int> seen;
    for (const Json& each : answer["messages"]) seen.push_back(each["payload"]);
    CHECK(seen == std::vector<int>{0, 0, 3, 3, 6, 6, 9, 9});
}
