// SPDX-License-Identifier: BSD-3-Clause
// Access to a Redis server: passwords, databases, unix sockets, TLS.
#include "redis/redis_fixture.hpp"
#include "support/scripted_peer.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const std::string dir = KOMBU_TEST_REDIS_DIR;
const std::string ca = dir + "/certs/ca.pem";

std::string host_and_port(int offset) { return "127.0.0.1:" + std::to_string(redis_port() + offset); }

void round_trip(Connection connection) {
    const std::string name = unique("access");
    auto queue = connection.simple_queue(name);
    const std::string large(300'000, 'x');
    queue.put(large);
    Message message = queue.get(soon);
    CHECK(message.payload() == large);
    message.ack();
    CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
    connection.default_channel().queue_delete(name);
}

std::string connect_error(const std::string& url, const ConnectionOptions& options = {}) {
    try {
        Connection{url, options}.connect();
        return "connected";
    } catch (const ConnectionError& error) {
        return error.what();
    }
}

}  // namespace

TEST_CASE("passwords of the server and of users", "[redis][access]") {
    round_trip(Connection{"redis://:kombu-secret@" + host_and_port(2)});
    round_trip(Connection{"redis://worker:worker-secret@" + host_and_port(2) + "/3"});
    round_trip(Connection{"redis://" + host_and_port(2), {.password = [] { return std::string{"kombu-secret"}; }}});
    for (const std::string login : {"", ":wrong-secret@", "worker:wrong-secret@", "nobody:wrong-secret@"}) {
        const auto start = Clock::now();
        Connection connection{"redis://" + login + host_and_port(2)};
        try {
            connection.connect();
            FAIL("let in");
        } catch (const AuthenticationError& error) {
            CHECK_THAT(error.what(), !Contains("wrong-secret"));
            CHECK_FALSE(error.is_retryable());
        }
        CHECK(Clock::now() - start < 1s);
    }
    CHECK_THAT(connect_error("redis://" + host_and_port(0) + "/99999"), Contains("DB index"));
}

TEST_CASE("databases are separate, and client_name names the session", "[redis][access]") {
    const std::string name = unique("q");
    Connection first{"redis://" + host_and_port(0) + "/1"},
        second{"redis://" + host_and_port(0) + "/2", {.transport_options = {{"client_name", name}}}};
    first.simple_queue(name).put(1);
    CHECK(second.simple_queue(name).qsize() == 0);
    CHECK(first.simple_queue(name).clear() == 1);
    RawRedis raw{redis_port()};
    CHECK_THAT(raw({"CLIENT", "LIST"}).get<std::string>(), Contains("name=" + name));
    for (Connection* connection : {&first, &second}) {
        connection->default_channel().queue_delete(name);
        connection->default_channel().exchange_delete(name);
    }
}

TEST_CASE("a unix socket", "[redis][access]") {
    round_trip(Connection{"redis+socket://" + dir + "/plain/redis.sock?virtual_host=4"});
    CHECK_THAT(connect_error("redis+socket://" + dir + "/no.sock"), Contains("no.sock") && Contains("No such file"));
    CHECK_THROWS_AS(Connection{"redis+socket:///" + std::string(200, 'x')}.connect(), ConfigurationError);
}

TEST_CASE("TLS, with the server's certificate verified", "[redis][access][tls]") {
    round_trip(Connection{"rediss://" + host_and_port(1) + "/0?ssl_ca_certs=" + ca});
    round_trip(Connection{"rediss://localhost:" + std::to_string(redis_port() + 1), {.ssl = {{"ssl_ca_certs", ca}}}});
    round_trip(Connection{"redis://" + host_and_port(1), {.ssl = {{"ca_certs", ca}}}});
    Connection connection{"rediss://" + host_and_port(1) + "/0?ssl_ca_certs=" + ca};
    CHECK(connection.broker_info().tls == "TLSv1.3");
}

TEST_CASE("an untrusted certificate is refused, unless the options allow it", "[redis][access][tls]") {
    const auto check = [](const std::string& said, const std::string& why) {
        CHECK_THAT(said, Contains("not trusted") && Contains(why));
    };
    check(connect_error("rediss://" + host_and_port(1)), "certificate");  // the system knows no such authority
    check(connect_error("rediss://" + host_and_port(1) + "?ssl_ca_certs=" + dir + "/certs/rogue.pem"), "certificate");
    check(connect_error("rediss://" + host_and_port(4) + "?ssl_ca_certs=" + ca), "IP address mismatch");
    check(connect_error("rediss://localhost:" + std::to_string(redis_port() + 4) + "?ssl_ca_certs=" + ca),
          "ostname mismatch");
    try {
        Connection{"rediss://" + host_and_port(1)}.connect();
        FAIL("connected");
    } catch (const ConnectionError& error) {
        CHECK_FALSE(error.is_retryable());
    }
    round_trip(Connection{"rediss://" + host_and_port(1) + "?ssl_cert_reqs=none"});
    round_trip(Connection{"rediss://" + host_and_port(4) + "?ssl_check_hostname=false&ssl_ca_certs=" + ca});
    CHECK_THROWS_AS(Connection{"rediss://" + host_and_port(1) + "?ssl_ca_certs=/no/such.pem"}.connect(),
                    ConfigurationError);
    CHECK_THROWS_WITH((Connection{"rediss://" + host_and_port(1) + "?ssl_certfile=/no/such.pem"}.connect()),
                      Contains("ssl_certfile"));
}

TEST_CASE("certificates are read again once their file has changed", "[redis][access][tls]") {
    const std::filesystem::path trusted = dir + "/certs/replaced.pem";
    const auto replace = [&](const std::string& with) {
        std::filesystem::copy_file(with, trusted.string() + ".new", std::filesystem::copy_options::overwrite_existing);
        std::filesystem::rename(trusted.string() + ".new", trusted);
    };
    const std::string url = "rediss://" + host_and_port(1) + "?ssl_ca_certs=" + trusted.string();
    replace(ca);
    round_trip(Connection{url});
    replace(dir + "/certs/rogue.pem");
    CHECK_THAT(connect_error(url), Contains("not trusted"));
    replace(ca);
    round_trip(Connection{url});
}

TEST_CASE("a server that requires a client certificate gets one", "[redis][access][tls]") {
    const std::string own = "&ssl_certfile=" + dir + "/certs/client.pem&ssl_keyfile=" + dir + "/certs/client.key";
    round_trip(Connection{"rediss://" + host_and_port(3) + "?ssl_ca_certs=" + ca + own});
    // With TLS 1.3 the server refuses after the handshake, and may close the connection before its alert is read.
    CHECK(connect_error("rediss://" + host_and_port(3) + "?ssl_ca_certs=" + ca) != "connected");
    CHECK_THROWS_AS((Connection{"rediss://" + host_and_port(3) + "?ssl_certfile=" + dir +
                                "/certs/client.pem&ssl_keyfile=" + dir + "/certs/server.key"}
                         .connect()),
                    ConfigurationError);
}

TEST_CASE("TLS to a server without it, and the reverse, fails in time", "[redis][access][tls]") {
    const auto start = Clock::now();
    CHECK(connect_error("rediss://" + host_and_port(0) + "?connect_timeout=1") != "connected");
    CHECK(connect_error("redis://" + host_and_port(1) + "?connect_timeout=1") != "connected");
    ScriptedPeer silent{[](PeerSocket& socket) { socket.wait_for_close(); }};
    CHECK_THAT(connect_error("rediss://127.0.0.1:" + std::to_string(silent.port()) + "?connect_timeout=0.2"),
               Contains("handshake"));
    CHECK(Clock::now() - start < 4s);
}

TEST_CASE("a pool over TLS serves many threads", "[redis][access][tls]") {
    const Connection broker{"rediss://" + host_and_port(1) + "?ssl_ca_certs=" + ca};
    pools::Connections connections{{.limit = 3}};
    pools::Producers producers{{.limit = 3, .connections = &connections}};
    const std::string name = unique("tls");
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 50; ++i)
                producers[broker]
                    .acquire({.block = true, .timeout = 10s})
                    ->publish(std::string(1000, 'x'), {.routing_key = name});
        });
    for (std::thread& thread : threads) thread.join();
    auto connection = connections[broker].acquire();
    CHECK(connection->default_channel().queue_purge(name) == 300);
}

TEST_CASE("TCP keep-alive follows the options", "[redis][access][options]") {
    const auto option_of = [](const Json& options, int level, int name) {
        Connection connection{"redis://" + host_and_port(0), {.transport_options = options}};
        connection.connect();
        int found = -1;
        for (int fd = 3; fd < 1024; ++fd) {
            sockaddr_in peer{};
            socklen_t size = sizeof peer;
            if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || peer.sin_family != AF_INET ||
                ntohs(peer.sin_port) != redis_port())
                continue;
            socklen_t length = sizeof found;
            ::getsockopt(fd, level, name, &found, &length);
        }
        return found;
    };
    CHECK(option_of(Json::object(), SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option_of({{"socket_keepalive", false}}, SOL_SOCKET, SO_KEEPALIVE) == 0);
    CHECK(option_of({{"socket_keepalive_options", {{"TCP_KEEPIDLE", 33}}}}, IPPROTO_TCP, TCP_KEEPIDLE) == 33);
    CHECK(option_of({{"socket_keepalive_options", {{"TCP_KEEPINTVL", 7}}}}, IPPROTO_TCP, TCP_KEEPINTVL) == 7);
    CHECK(option_of({{"socket_keepalive_options", {{"TCP_KEEPCNT", 4}}}}, IPPROTO_TCP, TCP_KEEPCNT) == 4);
}
