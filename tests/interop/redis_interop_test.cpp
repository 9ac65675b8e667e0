// What C++ and Kombu do with each other's messages on Redis beyond sending and receiving them.
#include "redis/redis_fixture.hpp"
#include "support/python_peer.hpp"

using namespace kombu;
using namespace std::chrono_literals;

namespace {

const Json eager = {{"visibility_timeout", 0.3}, {"unacked_restore_interval", 0.05}};

PythonPeer kombu_peer(const Prefixed& redis, Json options = Json::object()) {
    options["global_keyprefix"] = redis.prefix;
    return PythonPeer{{KOMBU_TEST_PEER, broker_url(), options.dump()}};
}

}  // namespace

TEST_CASE("a message that Kombu took and never acknowledged is restored by C++", "[interop][redis]") {
    Prefixed redis;
    Connection connection = redis.connection(eager);
    const Exchange exchange{"ex", "topic"};
    const Queue queue{"q", exchange, "a.*"};
    auto from = connection.simple_queue(queue);
    from.put(Json{{"n", 1}}, {.routing_key = "a.b", .priority = 6});
    PythonPeer peer = kombu_peer(redis);
    peer({{"do", "listen"}, {"queue", {"q", "ex", "topic", "a.*"}}});
    const Json seen = peer({{"do", "receive"}, {"ack", false}})["messages"];
    REQUIRE(seen.size() == 1);
    CHECK(redis.held() == 1);
    peer.kill();
    Message message = from.get({.timeout = 10s});
    CHECK(message.payload() == Json{{"n", 1}});
    CHECK(message.redelivered());
    message.ack();
    CHECK(redis.held() == 0);
}

TEST_CASE("a message that C++ took and never acknowledged is restored by Kombu", "[interop][redis]") {
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
    CHECK(redis.held() == 0);
    CHECK(redis.length("other") == 1);  // back to its own queue alone, though Kombu did it
    held.ack();                         // too late, and harmless
}

TEST_CASE("what C++ gave back Kombu takes again, and the reverse", "[interop][redis]") {
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
    CHECK(redis.held() == 0);
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
