// SPDX-License-Identifier: BSD-3-Clause
// Servers and users with restrictions: what Kombu can do there this library can do too, or it says what is missing.
#include "redis/redis_fixture.hpp"
#include "support/private_redis.hpp"
#include "support/scripted_peer.hpp"

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

std::string url_for(const PrivateRedis& redis, const std::string& user) {
    return "redis://" + user + ":pw@127.0.0.1:" + std::to_string(redis.port()) + "/0";
}

void make_user(RawRedis& raw, const std::string& name, const std::vector<std::string>& rules) {
    std::vector<std::string> command{"ACL", "SETUSER", name, "reset", "on", ">pw", "~*"};
    command.insert(command.end(), rules.begin(), rules.end());
    raw(command);
}

/// Publishes through an exchange and to a queue, receives and acknowledges.
void exchange_messages(Connection& connection) {
    Producer producer{connection};
    auto queue = connection.simple_queue(Queue{"q", Exchange{"ex", "topic"}, "a.*"});
    producer.publish(1, {.exchange = "ex", .routing_key = "a.b"});
    producer.publish(2, {.routing_key = "q"});
    for (const int wanted : {1, 2}) {
        Message message = queue.get({.timeout = 5s});
        CHECK(message.payload() == wanted);
        message.ack();
    }
    CHECK_THROWS_AS(queue.get({.timeout = 50ms}), Empty);
    producer.publish(3, {.routing_key = "q"});
    Message message = queue.get({.timeout = 5s});
    message.requeue();
    CHECK(queue.get({.timeout = 5s}).redelivered());
}

void exchange_fanout(Connection& connection) {
    const Exchange exchange{"fan", "fanout"};
    auto queue = connection.simple_queue(Queue{"f", exchange});
    Producer{connection}.publish(1, {.exchange = exchange, .mandatory = true});
    CHECK(queue.get({.timeout = 5s}).payload() == 1);
}

}  // namespace

TEST_CASE("a server that is full says so, and the error is retryable", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    raw({"CONFIG", "SET", "maxclients", "1"});
    Connection connection{redis.url()};
    try {
        connection.connect();
        FAIL("connected");
    } catch (const ConnectionError& error) {
        CHECK_THAT(error.what(), Contains("max number of clients reached"));
        CHECK(error.is_retryable());
    }
    raw({"CONFIG", "SET", "maxclients", "10"});
    CHECK_NOTHROW(connection.connect());
}

TEST_CASE("a server in protected mode says so", "[redis][restricted]") {
    // Scripted: a real one does so only on an interface other than loopback.
    ScriptedPeer peer{[](PeerSocket& socket) {
        socket.send(
            "-DENIED Redis is running in protected mode because protected mode is enabled and no password is "
            "set for the default user.\r\n");
    }};
    Connection connection{"redis://127.0.0.1:" + std::to_string(peer.port()) + "/0"};
    try {
        connection.connect();
        FAIL("connected");
    } catch (const ConnectionError& error) {
        CHECK_THAT(error.what(), Contains("protected mode"));
        CHECK_FALSE(error.is_retryable());
    }
}

TEST_CASE("a server of a cluster is refused when connecting", "[redis][restricted]") {
    // By default the port of the cluster's bus may be in use by a client.
    PrivateRedis redis{"--cluster-enabled yes --cluster-port " + std::to_string(KOMBU_TEST_PRIVATE_PORT + 9)};
    Connection connection{redis.url()};
    CHECK_THROWS_AS(connection.connect(), MovedError);
    CHECK_THROWS_WITH(connection.connect(), Contains("cluster"));
}

TEST_CASE("a read-only replica refuses messages with an error of its own", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    raw({"REPLICAOF", "127.0.0.1", "1"});
    raw({"CONFIG", "SET", "replica-serve-stale-data", "yes"});
    Connection connection{redis.url()};
    CHECK_THROWS_AS(Producer{connection}.publish(1, {.routing_key = "q"}), ReadOnlyError);
    CHECK_THROWS_AS(connection.simple_queue(Queue{"q", Exchange{"ex"}, "k"}), ReadOnlyError);
}

TEST_CASE("a new consumer drains a queue on a server out of memory", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    const Queue celery{"celery", Exchange{"celery"}, "celery"};
    {
        Connection connection{redis.url()};
        auto queue = connection.simple_queue(celery);
        for (int i = 0; i < 20; ++i) queue.put(i);
    }
    raw({"SCRIPT", "FLUSH"});
    raw({"CONFIG", "SET", "maxmemory", "1"});
    Connection connection{redis.url()};
    auto queue = connection.simple_queue(celery);
    for (int i = 0; i < 20; ++i) {
        Message message = queue.get({.timeout = 5s});
        CHECK(message.payload() == i);
        if (i == 7) {
            message.requeue();
            message = queue.get({.timeout = 5s});
        }
        message.ack();
    }
    CHECK(raw({"EXISTS", "unacked", "celery"}) == 0);
    // A binding that does not exist yet cannot be made.
    CHECK_THROWS_AS(connection.simple_queue(Queue{"new", Exchange{"celery"}, "new"}), OutOfMemoryError);
}

TEST_CASE("commands that do not exist are done without", "[redis][restricted]") {
    for (const char* renamed : {"EVALSHA", "CLIENT", "INFO", "EXISTS", "TIME", "PUBSUB", "SCRIPT"}) {
        INFO(renamed);
        PrivateRedis redis{"--rename-command " + std::string{renamed} + " ''"};
        Connection connection{redis.url(), {.transport_options = {{"client_name", "named"}}}};
        exchange_messages(connection);
        exchange_fanout(connection);
        const BrokerInfo info = connection.broker_info();
        CHECK(info.product == "Redis");
        CHECK(info.version.empty() == (renamed == std::string_view{"INFO"}));
    }
}

TEST_CASE("without scripts a user can publish, and is told what receiving needs", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    make_user(raw, "limited", {"&*", "+@all", "-@scripting"});
    const LogCapture logged;
    Connection connection{url_for(redis, "limited")};
    connection.connect();
    CHECK_THAT(logged.text(), Contains("EVALSHA") && Contains("EVAL") && Contains("can publish, but not receive"));
    Producer producer{connection};
    producer.publish(1, {.routing_key = "q"});
    try {
        (void)connection.simple_queue("q").get({.timeout = 1s});
        FAIL("received");
    } catch (const ChannelError& error) {
        CHECK(error.code() == 403);
        CHECK_THAT(error.what(), Contains("EVALSHA"));
    }
    CHECK(raw({"LLEN", "q"}) == 1);
}

TEST_CASE("a user who may call only one of the commands for scripts can receive", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    const std::vector<std::vector<std::string>> users{{"&*", "+@all", "-evalsha"},
                                                      {"&*", "+@all", "-eval"},
                                                      {"&*", "+@all", "-@scripting", "+evalsha", "+script|load"}};
    for (const auto& rules : users) {
        INFO(rules.back());
        raw({"SCRIPT", "FLUSH"});
        raw({"FLUSHALL"});
        make_user(raw, "limited", rules);
        const LogCapture logged;
        Connection connection{url_for(redis, "limited")};
        exchange_messages(connection);
        CHECK_THAT(logged.text(), !Contains("not receive"));
    }
}

TEST_CASE("a user with the usual categories can publish, receive and listen", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    // TIME, EXISTS and INFO are in none of them.
    make_user(raw, "worker",
              {"&*", "+@list", "+@hash", "+@set", "+@sortedset", "+@string", "+@transaction", "+@pubsub", "+@scripting",
               "+@connection", "+del", "-@dangerous"});
    Connection connection{url_for(redis, "worker")};
    exchange_messages(connection);
    exchange_fanout(connection);
    CHECK(raw({"ZCARD", "unacked_index"}) == 1);
    const double since = std::stod(raw({"ZRANGE", "unacked_index", "0", "0", "WITHSCORES"}).at(1).get<std::string>());
    CHECK(std::abs(since - static_cast<double>(std::time(nullptr))) < 60);
}

TEST_CASE("the commands of Kombu alone: publishing works, and the rest is named when connecting",
          "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    std::vector<std::string> rules{"&*"};
    for (const char* command : {"brpop",
                                "lpush",
                                "rpush",
                                "llen",
                                "sadd",
                                "smembers",
                                "srem",
                                "hset",
                                "hget",
                                "hdel",
                                "zadd",
                                "zrem",
                                "zrevrangebyscore",
                                "multi",
                                "exec",
                                "watch",
                                "unwatch",
                                "publish",
                                "psubscribe",
                                "punsubscribe",
                                "ping",
                                "set",
                                "get",
                                "del",
                                "evalsha",
                                "script|load",
                                "info",
                                "select"})
        rules.push_back("+" + std::string{command});
    make_user(raw, "kombu", rules);
    const LogCapture logged;
    Connection connection{url_for(redis, "kombu")};
    Producer producer{connection};
    producer.publish(1, {.exchange = "ex", .routing_key = "k", .declare = {Queue{"q", Exchange{"ex"}, "k"}}});
    CHECK(raw({"LLEN", "q"}) == 1);
    CHECK_THAT(logged.text(), Contains("it may not call") && Contains("RPOP"));
    exchange_fanout(connection);
    CHECK_THROWS_AS(connection.simple_queue("q").get({.timeout = 100ms}), ChannelError);
    CHECK(raw({"LLEN", "q"}) == 1);
    rules.insert(rules.end(), {"+lindex", "+rpop", "+zscore"});
    make_user(raw, "kombu", rules);
    Connection with_more{url_for(redis, "kombu")};
    CHECK(with_more.simple_queue("q").get({.timeout = 5s}).payload() == 1);
}

TEST_CASE("a user without rights for channels receives, and cannot listen", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    make_user(raw, "limited", {"resetchannels", "+@all"});
    Connection connection{url_for(redis, "limited")};
    exchange_messages(connection);
    CHECK_THROWS_AS(connection.simple_queue(Queue{"f", Exchange{"fan", "fanout"}}), ChannelError);
}

TEST_CASE("a script that is refused half-way loses no message, whatever else is refused", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    for (const std::string refused : {"hset", "zadd", "rpop", "lpush", "rpush", "lindex"}) {
        INFO(refused);
        raw({"FLUSHALL"});
        make_user(raw, "limited", {"&*", "+@all", "-rpush", "-lpush", "-" + refused});
        raw({"LPUSH", "q", "{}"});
        raw({"RPUSH", "q",
             std::string{R"({"body": "MQ==", "content-type": "application/json", "properties": )"} +
                 R"({"delivery_tag": "t", "body_encoding": "base64", "delivery_info": )" +
                 R"({"exchange": "", "routing_key": "q"}}})"});
        Connection connection{url_for(redis, "limited")};
        std::int64_t delivered = 0;
        for (int i = 0; i < 3; ++i) {
            try {
                auto queue = connection.simple_queue("q");
                (void)queue.get({.timeout = 20ms});
                ++delivered;
            } catch (const Error&) {
            }
        }
        const std::int64_t kept = raw({"LLEN", "q"}).get<std::int64_t>() +
                                  raw({"HLEN", "unacked"}).get<std::int64_t>() +
                                  raw({"LLEN", "_kombu.poison.q"}).get<std::int64_t>();
        CHECK(kept >= 2);
        CHECK(raw({"ZCARD", "unacked_index"}).get<std::int64_t>() <= raw({"HLEN", "unacked"}).get<std::int64_t>() + 1);
    }
}

TEST_CASE("a password is not ignored where AUTH is refused", "[redis][restricted]") {
    PrivateRedis redis{"--rename-command AUTH ''"};
    CHECK_THROWS_AS(Connection("redis://:secret@127.0.0.1:" + std::to_string(redis.port()) + "/0").connect(),
                    ConnectionError);
}

TEST_CASE("a consumer whose right to notices ends receives by polling, and strands no message", "[redis][restricted]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    make_user(raw, "worker", {"&*", "+@all"});
    Connection connection{url_for(redis, "worker")};
    auto queue = connection.simple_queue("q");
    CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
    raw({"ACL", "SETUSER", "worker", "-client"});
    Connection publisher{redis.url()};
    for (int i = 0; i < 3; ++i) {
        Producer{publisher}.publish(i, {.routing_key = "q"});
        Message message = queue.get({.timeout = 5s});
        CHECK(message.payload() == i);
        message.ack();
        CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
    }
    CHECK(raw({"HLEN", "unacked"}) == 0);
}
