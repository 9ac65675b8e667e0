// SPDX-License-Identifier: BSD-3-Clause
// Scripted peers do what a real Redis does not: a typed error within the deadline, and only the broken connection is
// discarded.
#include "redis/redis_fixture.hpp"
#include "support/scripted_redis.hpp"
#include "support/time_of.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A scripted Redis: answers the log-in, then runs the script.
ScriptedPeer::Script after_login(ScriptedPeer::Script script) {
    return [script](PeerSocket& peer) {
        answer_login(peer);
        script(peer);
    };
}

std::string url_of(const ScriptedPeer& peer, const std::string& query = "") {
    return "redis://127.0.0.1:" + std::to_string(peer.port()) + "/0" + query;
}

}  // namespace

TEST_CASE("an invalid reply fails the call and the connection", "[redis][faults]") {
    const auto error_after_reply = [](const std::string& reply) {
        ScriptedPeer peer{after_login([&](PeerSocket& socket) {
            receive_command(socket);
            socket.send(reply);
            socket.wait_for_close();
        })};
        Connection connection{url_of(peer)};
        Producer producer{connection};
        std::string error = "published";
        const auto took = time_of([&] {
            try {
                producer.publish(1, {.routing_key = "q", .timeout = 2s});
            } catch (const ConnectionError& caught) {
                error = caught.what();
            }
        });
        CHECK(took < 1s);
        CHECK((error == "published" || !connection.connected()));
        return error;
    };
    CHECK_THAT(error_after_reply("$536870912\r\nabc"), Contains("too large"));
    CHECK_THAT(error_after_reply("*99999999\r\n"), Contains("too large"));
    CHECK_THAT(error_after_reply("+OK\r\n"), Contains("unexpected reply"));
    CHECK_THAT(error_after_reply("$-2\r\n"), Contains("out of range"));
    CHECK_THAT(error_after_reply("$-1\r\n"), Contains("unexpected reply"));
    CHECK_THAT(error_after_reply("*1\r\n:1\r\n"), Contains("unexpected reply"));
    CHECK_THAT(error_after_reply("HTTP/1.1 400 Bad Request\r\n"), Contains("invalid RESP data"));
    CHECK_THAT(error_after_reply(":1\r\n:2\r\n"), Contains("without an outstanding command"));
    CHECK(error_after_reply(":1\r\n") == "published");
}

TEST_CASE("a reply cut at any of its bytes ends the connection", "[redis][faults]") {
    const std::string reply = ":1234567\r\n";
    for (std::size_t size = 0; size < reply.size(); ++size) {
        ScriptedPeer peer{after_login([&](PeerSocket& socket) {
            receive_command(socket);
            socket.send(reply.substr(0, size));
        })};
        Connection connection{url_of(peer)};
        Producer producer{connection};
        CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .timeout = 2s}), ConnectionError);
        CHECK_FALSE(connection.connected());
    }
}

TEST_CASE("a peer that is silent or sends slowly causes a Timeout at the deadline", "[redis][faults]") {
    ScriptedPeer silent{after_login([](PeerSocket& socket) { socket.wait_for_close(); })};
    ScriptedPeer dripping{after_login([](PeerSocket& socket) {
        socket.send("$1000\r\n");
        while (!socket.stopped()) {
            socket.send("x");
            std::this_thread::sleep_for(5ms);
        }
    })};
    ScriptedPeer mute{[](PeerSocket& socket) { socket.wait_for_close(); }};  // does not even answer the log-in
    for (const ScriptedPeer* peer : {&silent, &dripping}) {
        Connection connection{url_of(*peer)};
        Producer producer{connection};
        const auto took =
            time_of([&] { CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .timeout = 200ms}), Timeout); });
        CHECK(took >= 200ms);
        CHECK(took < 1s);
        CHECK_FALSE(connection.connected());
        Batch batch = producer.batch();
        batch.publish(1, {.routing_key = "q"});
        CHECK(time_of([&] { CHECK_THROWS_AS(batch.commit(200ms), BatchError); }) < 1s);
    }
    Connection never_connected{url_of(mute, "?connect_timeout=0.2")};
    CHECK(time_of([&] { CHECK_THROWS_AS(never_connected.connect(), Timeout); }) < 1s);
    Connection by_option{url_of(mute, "?socket_connect_timeout=0.2")};
    CHECK(time_of([&] { CHECK_THROWS_AS(by_option.connect(), Timeout); }) < 1s);
    Connection waiting{url_of(silent, "?operation_timeout=0.2")};
    CHECK(time_of([&] { CHECK_THROWS_AS(waiting.simple_queue("q"), Timeout); }) < 1s);
}

TEST_CASE("socket_timeout bounds the wait for each reply, and retry_on_timeout waits twice",
          "[redis][faults][options]") {
    ScriptedPeer late{after_login([](PeerSocket& socket) {
        receive_command(socket);
        std::this_thread::sleep_for(150ms);
        socket.send(":1\r\n");
        socket.wait_for_close();
    })};
    const auto published = [&](const std::string& query) {
        Connection connection{url_of(late, query)};
        Producer producer{connection};
        try {
            producer.publish(1, {.routing_key = "q"});
            return std::string{"published"};
        } catch (const Timeout& error) {
            return std::string{error.what()};
        }
    };
    CHECK(published("") == "published");
    CHECK_THAT(published("?socket_timeout=0.1"), Contains("socket_timeout"));
    CHECK(published("?socket_timeout=0.1&retry_on_timeout=true") == "published");
}

TEST_CASE("a broken connection is discarded, and no other", "[redis][faults][pools]") {
    std::atomic<int> connections_accepted{0};
    ScriptedPeer peer{after_login([&](PeerSocket& socket) {
        const bool breaks = connections_accepted++ == 0;
        receive_command(socket);
        if (breaks) return;
        socket.send(":1\r\n");
        while (!receive_command(socket).empty()) socket.send(":1\r\n");
    })};
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    const Connection broker{url_of(peer)};
    CHECK_THROWS_AS(producers[broker].acquire()->publish(1, {.routing_key = "q", .timeout = 2s}), ConnectionError);
    CHECK(connections[broker].stats().discarded == 1);
    for (int i = 0; i < 5; ++i) producers[broker].acquire()->publish(1, {.routing_key = "q", .timeout = 2s});
    CHECK(connections_accepted == 2);
    CHECK(connections[broker].stats().discarded == 1);
}

TEST_CASE("R3 a connection idle for health_check_interval is pinged before it is used", "[redis][faults][options]") {
    std::atomic<int> pings{0};
    ScriptedPeer peer{after_login([&](PeerSocket& socket) {
        for (std::string command = receive_command(socket); !command.empty(); command = receive_command(socket)) {
            const bool ping = command.find("PING") != std::string::npos;
            pings += ping;
            socket.send(ping ? "+PONG\r\n" : ":1\r\n");
        }
    })};
    {
        Connection connection{url_of(peer, "?health_check_interval=0.5")};
        Producer producer{connection};
        producer.publish(1, {.routing_key = "q"});
        producer.publish(2, {.routing_key = "q"});
        CHECK(pings == 0);
        std::this_thread::sleep_for(550ms);  // longer than health_check_interval
        producer.publish(3, {.routing_key = "q"});
        CHECK(pings == 1);
    }
    Connection unchecked{url_of(peer, "?health_check_interval=0")};
    Producer{unchecked}.publish(1, {.routing_key = "q"});
    CHECK(pings == 1);
}

TEST_CASE("a changed password is sent to the server in the running session", "[redis][faults][options]") {
    std::atomic<int> asked{0};
    std::mutex mutex;
    std::vector<std::string> auth_commands;
    ScriptedPeer peer{[&](PeerSocket& socket) {
        answer_login(socket);
        for (std::string command = receive_command(socket); !command.empty(); command = receive_command(socket)) {
            const std::lock_guard lock{mutex};
            socket.send(command.find("LPUSH") != std::string::npos ? ":1\r\n" : "+OK\r\n");
            if (command.find("AUTH") != std::string::npos) auth_commands.push_back(command);
        }
    }};
    const auto rotating = [&asked] { return "secret-" + std::to_string(++asked); };
    Connection connection{url_of(peer, "?reauth_check_interval=0.5"), {.userid = "u", .password = Password{rotating}}};
    Producer producer{connection};
    producer.publish(1, {.routing_key = "q"});
    producer.publish(2, {.routing_key = "q"});
    CHECK(asked == 1);
    std::this_thread::sleep_for(550ms);  // the interval is real time
    producer.publish(3, {.routing_key = "q"});
    CHECK(asked == 2);
    const std::lock_guard lock{mutex};
    CHECK_THAT(auth_commands.back(), Contains("AUTH") && Contains("u") && Contains("secret-2"));
}

TEST_CASE("a batch whose connection breaks reports no message as stored that may not have been",
          "[redis][faults][batch]") {
    // The bindings change before the message is stored, and then the peer closes the connection.
    ScriptedPeer peer{after_login([](PeerSocket& socket) {
        int reads = 0;
        for (std::string command = receive_command(socket); !command.empty(); command = receive_command(socket)) {
            if (command.find("SMEMBERS") != std::string::npos)
                socket.send("*1\r\n$6\r\nk\x06\x16\x06\x16" + std::string(reads++ == 0 ? "a" : "b") + "\r\n");
            else if (command.find("LPUSH") != std::string::npos && reads == 1)
                socket.send(":1\r\n");
            else
                return;
        }
    })};
    Connection connection{url_of(peer)};
    Producer producer{connection};
    Batch batch = producer.batch();
    batch.publish(1, {.exchange = "ex", .routing_key = "k"});
    CHECK_THROWS_AS(batch.commit(2s), BatchError);
    CHECK(batch.size() == 1);
    CHECK_THROWS_AS(producer.publish(1, {.exchange = "ex", .routing_key = "k", .timeout = 2s}), ConnectionError);
}
