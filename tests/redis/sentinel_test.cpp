// SPDX-License-Identifier: BSD-3-Clause
// Sentinels: finding the master, and failover. They run only for these tests.
#include "redis/redis_fixture.hpp"
#include "support/private_redis.hpp"
#include "support/scripted_redis.hpp"

#include <cstdlib>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const std::string dir = std::string{KOMBU_TEST_REDIS_DIR} + "/sentinels";
constexpr int base = KOMBU_TEST_SENTINEL_PORT;

void run(const std::string& action, const std::string& rest = "") {
    const std::string line = std::string{KOMBU_TEST_REDIS_SCRIPT} + ' ' + action + ' ' + dir + ' ' + rest;
    if (std::system(line.c_str()) != 0) throw std::runtime_error(line + " failed");
}

/// A master, a replica and three sentinels with a password.
struct Sentinels {
    Sentinels() { run("sentinels", std::to_string(base)); }
    Sentinels(const Sentinels&) = delete;
    Sentinels& operator=(const Sentinels&) = delete;
    ~Sentinels() { std::system((std::string{KOMBU_TEST_REDIS_SCRIPT} + " stop " + dir).c_str()); }

    static std::string url(int first = 2) {
        std::string list;
        for (int i = first; i <= 4; ++i)
            list += (list.empty() ? "" : ";") + ("sentinel://127.0.0.1:" + std::to_string(base + i));
        return list;
    }
    static Json options(Json more = Json::object()) {
        Json all = {{"master_name", "kombu"}, {"sentinel_kwargs", {{"password", "sentinel-secret"}}}};
        all.update(more);
        return all;
    }
};

std::string connect_error(const std::string& url, const Json& options) {
    try {
        Connection{url, {.transport_options = options}}.connect();
        return "connected";
    } catch (const ConnectionError& error) {
        CHECK_THAT(error.what(), !Contains("secret"));
        return error.what();
    }
}

}  // namespace

TEST_CASE("the master is found by any of the sentinels, and again after a failover", "[redis][sentinel]") {
    Sentinels sentinels;
    {
        Connection connection{Sentinels::url(), {.transport_options = Sentinels::options()}};
        connection.simple_queue("q").put(1);
        CHECK(RawRedis{base}({"LLEN", "q"}) == 1);
    }
    // One sentinel that does not exist, and one server that is not a sentinel.
    CHECK(connect_error("sentinel://127.0.0.1:1;" + Sentinels::url(3), Sentinels::options()) == "connected");
    CHECK(connect_error("sentinel://127.0.0.1:" + std::to_string(base) + ';' + Sentinels::url(4),
                        Sentinels::options({{"sentinel_kwargs", {{"password", "sentinel-secret"}}}})) == "connected");
    CHECK(connect_error(Sentinels::url(), Sentinels::options({{"min_other_sentinels", 2}})) == "connected");
    CHECK_THAT(connect_error(Sentinels::url(), Sentinels::options({{"min_other_sentinels", 3}})),
               Contains("fewer than 3"));
    CHECK_THAT(connect_error(Sentinels::url(), Sentinels::options({{"master_name", "other"}})),
               Contains("No such master"));
    CHECK_THAT(
        connect_error(Sentinels::url(), Sentinels::options({{"sentinel_kwargs", {{"password", "wrong-secret"}}}})),
        Contains("WRONGPASS"));
    CHECK_THAT(connect_error(Sentinels::url(), {{"master_name", "kombu"}}), Contains("NOAUTH"));
    const Connection broker{Sentinels::url(), {.transport_options = Sentinels::options()}};
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    producers[broker].acquire()->publish(1, {.routing_key = "q"});

    run("kill", "master");
    CHECK_NOTHROW(
        producers[broker]
            .acquire({.block = true, .timeout = 1s})
            ->publish(
                2, {.routing_key = "q", .retry = true, .retry_policy = {.max_retries = std::nullopt}, .timeout = 30s}));
    CHECK(RawRedis{base + 1}({"LLEN", "q"}).get<int>() >= 1);
}

TEST_CASE("a replica is refused as master, and READONLY makes the next attempt ask the sentinel again",
          "[redis][sentinel]") {
    PrivateRedis redis;
    std::atomic<int> asked{0};
    ScriptedPeer liar{[&](PeerSocket& socket) {
        receive_command(socket);
        ++asked;
        const std::string port = std::to_string(redis.port());
        socket.send("*8\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$" + std::to_string(port.size()) + "\r\n" +
                    port + "\r\n$5\r\nflags\r\n$6\r\nmaster\r\n$19\r\nnum-other-sentinels\r\n$1\r\n0\r\n");
        socket.receive(1);
    }};
    Connection connection{"sentinel://127.0.0.1:" + std::to_string(liar.port()),
                          {.transport_options = {{"master_name", "m"}}}};
    Producer producer{connection};
    producer.publish(1, {.routing_key = "q"});
    CHECK(asked == 1);
    RawRedis raw{redis.port()};
    raw({"REPLICAOF", "127.0.0.1", "1"});
    CHECK_THROWS_AS(producer.publish(2, {.routing_key = "q"}), ReadOnlyError);
    CHECK_FALSE(connection.connected());
    CHECK(asked == 1);
    CHECK_THROWS_AS(producer.publish(3, {.routing_key = "q"}), ReadOnlyError);  // already at connect
    CHECK(asked == 2);
    raw({"REPLICAOF", "NO", "ONE"});
    CHECK_NOTHROW(producer.publish(4, {.routing_key = "q"}));
    CHECK(asked == 3);
    // The URL's credentials are the master's; sentinels have their own.
    raw({"CONFIG", "SET", "requirepass", "master-secret"});
    const std::string at = "127.0.0.1:" + std::to_string(liar.port());
    CHECK_THAT(connect_error("sentinel://" + at, {{"master_name", "m"}}), Contains("NOAUTH"));
    CHECK(connect_error("sentinel://:master-secret@" + at, {{"master_name", "m"}}) == "connected");
}

TEST_CASE("a sentinel that replies nonsense or reports its master as down is refused", "[redis][sentinel]") {
    const auto error_after_reply = [](const std::string& answer) {
        ScriptedPeer peer{[&](PeerSocket& socket) {
            receive_command(socket);
            socket.send(answer);
            socket.wait_for_close();
        }};
        return connect_error("sentinel://127.0.0.1:" + std::to_string(peer.port()), {{"master_name", "m"}});
    };
    CHECK_THAT(error_after_reply("*0\r\n"), Contains("no valid address"));
    CHECK_THAT(error_after_reply("+OK\r\n"), Contains("unexpected reply"));
    CHECK_THAT(error_after_reply("*4\r\n$2\r\nip\r\n$1\r\nx\r\n$4\r\nport\r\n$6\r\n999999\r\n"),
               Contains("no valid address"));
    CHECK_THAT(
        error_after_reply(
            "*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$1\r\n1\r\n$5\r\nflags\r\n$13\r\nmaster,s_down\r\n"),
        Contains("is down"));
    CHECK_THAT(error_after_reply(
                   "*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$1\r\n1\r\n$5\r\nflags\r\n$5\r\nslave\r\n"),
               Contains("slave"));
}
