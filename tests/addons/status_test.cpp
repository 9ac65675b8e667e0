// SPDX-License-Identifier: BSD-3-Clause
// The status server: what it serves, to whom, and that no client costs the service more than a bounded amount.
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"

#include <kombu/kombu.hpp>
#include <kombu/status.hpp>

#include <arpa/inet.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using kombu::Clock;
using kombu::Json;
using kombu::status::StatusOptions;
using kombu::status::StatusServer;

namespace {

httplib::Result get(const StatusServer& server, const std::string& path, const httplib::Headers& headers = {}) {
    httplib::Client client{"127.0.0.1", server.port()};
    client.set_read_timeout(20, 0);
    return client.Get(path, headers);
}

/// A client that does as it likes.
class RawClient {
public:
    explicit RawClient(const StatusServer& server) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(server.port());
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;
    ~RawClient() { ::close(socket_); }

    bool connected() const { return connected_; }
    bool send(const std::string& text) const {
        return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    }
    /// What the server sends until it closes the connection.
    std::string read_all() const {
        std::string all;
        char part[4096];
        for (ssize_t size; (size = ::recv(socket_, part, sizeof part, 0)) > 0;)
            all.append(part, static_cast<std::size_t>(size));
        return all;
    }

private:
    int socket_;
    bool connected_ = false;
};

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE("the status server serves a page, statistics, metrics and health", "[status]") {
    const StatusServer server{"127.0.0.1:0", {.title = "orders"}};
    CHECK(server.url() == "http://127.0.0.1:" + std::to_string(server.port()) + "/");
    auto& pool = kombu::pools::connections[kombu::Connection{"memory://status"}];
    const auto lease = pool.acquire();

    const auto page = get(server, "/");
    REQUIRE(page);
    CHECK(page->status == 200);
    CHECK_THAT(page->get_header_value("Content-Type"), Contains("text/html"));
    CHECK_THAT(page->get_header_value("Content-Security-Policy"), Contains("default-src 'none'"));
    CHECK_THAT(page->body, Contains("<title>") && !Contains("http://") && !Contains("https://"));  // self-contained

    const auto json = get(server, "/pools.json");
    REQUIRE(json);
    const Json shown = Json::parse(json->body);
    CHECK(shown["title"] == "orders");
    CHECK(shown["process"] == ::getpid());
    const Json expected = kombu::pools::stats();
    REQUIRE(shown["pools"].size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
        for (const char* const member : {"name", "kind", "key", "limit", "in_use", "idle", "acquired"})
            CHECK(shown["pools"][i][member] == expected[i][member]);

    const auto metrics = get(server, "/metrics");
    REQUIRE(metrics);
    CHECK_THAT(metrics->body,
               Contains("kombu_pool_in_use{pool=\"connections\",kind=\"connection\",broker=\"memory://status"));

    const auto health = get(server, "/healthz");
    REQUIRE(health);
    CHECK(health->status == 200);
    CHECK(health->body == "ok\n");
    CHECK(get(server, "/elsewhere")->status == 404);
    kombu::pools::connections.erase(kombu::Connection{"memory://status"});
}

TEST_CASE("health is 503 while a broker cannot be reached", "[status]") {
    const StatusServer server{"0"};
    const kombu::Connection nowhere{"amqp://127.0.0.1:1"};
    {
        const auto lease = kombu::pools::connections[nowhere].acquire();
        CHECK_THROWS_AS(lease->connect(), kombu::ConnectionError);
        const auto health = get(server, "/healthz");
        REQUIRE(health);
        CHECK(health->status == 503);
        CHECK_THAT(health->body, Contains("unreachable: amqp://guest:**@127.0.0.1:1"));
    }
    kombu::pools::connections.erase(nowhere);
    CHECK(get(server, "/healthz")->status == 200);
}

TEST_CASE("a caller without patience does not make a broker count as down", "[status]") {
    const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // accepts, and never answers
    sockaddr_in address{};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(silent, reinterpret_cast<const sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(silent, 8) == 0);
    REQUIRE(::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    const kombu::Connection broker{"amqp://127.0.0.1:" + std::to_string(ntohs(address.sin_port))};
    {
        const auto lease = kombu::pools::connections[broker].acquire();
        CHECK_THROWS_AS(lease->connect(10ms), kombu::Timeout);
        CHECK_FALSE(kombu::pools::connections[broker].stats().is_down);
    }
    kombu::pools::connections.erase(broker);
    ::close(silent);
}

TEST_CASE("the status server refuses addresses that others can reach, unless asked and with a token", "[status]") {
    const std::string token = "a-token-of-this-test";
    CHECK_THROWS_WITH(StatusServer("0.0.0.0:0"), Contains("allow_remote"));
    CHECK_THROWS_WITH(StatusServer("[::]:0"), Contains("allow_remote"));
    CHECK_THROWS_WITH(StatusServer("example.org:80"), Contains("allow_remote"));
    CHECK_THROWS_WITH(StatusServer("0.0.0.0:0", {.allow_remote = true}), Contains("token"));
    CHECK_THROWS_WITH(StatusServer("0", {.token = "short"}), Contains("16 characters"));
    for (const char* const address : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", "::1:80"})
        CHECK_THROWS_AS(StatusServer(address), kombu::ConfigurationError);
    const StatusServer server{"0.0.0.0:0", {.allow_remote = true, .token = token}};
    for (const char* const path : {"/", "/pools.json", "/metrics", "/elsewhere"}) {
        CHECK(get(server, path)->status == 401);
        CHECK(get(server, path, {{"Authorization", "Bearer another token, as long"}})->status == 401);
        CHECK(get(server, path, {{"Authorization", "Bearer "}})->status == 401);
        CHECK(get(server, std::string{path} + "?token=x")->status == 401);
        CHECK(get(server, path, {{"Authorization", "Bearer " + token}})->status != 401);
    }
    CHECK(get(server, "/pools.json?token=a-token-of-this-test")->status == 200);
    CHECK(get(server, "/healthz")->status == 200);
}

TEST_CASE("the status server only reads, and only for pages of its own origin", "[status]") {
    const StatusServer server{"127.0.0.1:0"};
    httplib::Client client{"127.0.0.1", server.port()};
    CHECK(client.Post("/", "x", "text/plain")->status == 405);
    CHECK(client.Put("/pools.json", "x", "text/plain")->status == 405);
    CHECK(client.Delete("/pools.json")->status == 405);
    // Each range would be a copy of the page in memory.
    CHECK(get(server, "/", {{"Range", "bytes=0-,0-,0-"}})->status == 416);
    CHECK(get(server, "/pools.json", {{"Host", "attacker.example"}})->status == 403);
    CHECK(get(server, "/pools.json", {{"Host", "localhost.attacker.example:80"}})->status == 403);
    CHECK(get(server, "/pools.json", {{"Host", "localhost:80"}})->status == 200);
    CHECK(get(server, "/pools.json", {{"Host", "[::1]:80"}})->status == 200);
}

TEST_CASE("a client that sends slowly, or without end, is cut off", "[status]") {
    const StatusServer server{"127.0.0.1:0"};
    const auto start = Clock::now();
    const RawClient slow{server};
    REQUIRE(slow.send("GET / HTTP/1.1\r\nX: "));
    while (slow.send("x") && Clock::now() - start < 60s) std::this_thread::sleep_for(50ms);
    CHECK(Clock::now() - start < 30s);
    const RawClient endless{server};
    std::string header = "X: " + std::string(1000, 'x') + "\r\n";
    endless.send("GET / HTTP/1.1\r\n");
    int sent = 0;
    while (endless.send(header) && sent < 1'000'000) ++sent;
    CHECK(sent < 100'000);
    CHECK(get(server, "/healthz")->status == 200);
}

TEST_CASE("many clients take a bounded number of descriptors and do not stop the server", "[status]") {
    const std::size_t before = open_descriptors();
    auto server = std::make_unique<StatusServer>("127.0.0.1:0");
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 40; ++i) {
        // The backlog of the kernel is short: a connect may wait.
        if (clients.size() >= 12) break;
        clients.push_back(std::make_unique<RawClient>(*server));
    }
    // 8 connections at most, beside the listening socket and what the test itself holds.
    CHECK(open_descriptors() <= before + clients.size() + 8 + 4);
    const auto start = Clock::now();
    server.reset();
    CHECK(Clock::now() - start < 4s);  // before the clients' time is over
    for (const auto& client : clients) client->read_all();
}

TEST_CASE("a port in use is an error", "[status]") {
    const StatusServer first{"127.0.0.1:0"};
    try {
        const StatusServer second{"127.0.0.1:" + std::to_string(first.port())};
        FAIL("listens");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::address_in_use);
    }
}

TEST_CASE("a forked child does not hold the port", "[status]") {
    auto server = std::make_unique<StatusServer>("127.0.0.1:0");
    const std::string address = "127.0.0.1:" + std::to_string(server->port());
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        char byte = 0;
        ::close(ends[1]);
        [[maybe_unused]] const auto size = ::read(ends[0], &byte, 1);  // until the parent closes its end
        int result = 1;
        try {
            server = std::make_unique<StatusServer>("127.0.0.1:0");  // another one, while the inherited one ends
            result = get(*server, "/healthz") ? 0 : 2;
            server.reset();
        } catch (const std::exception&) {
        }
        ::_exit(result);
    }
    ::close(ends[0]);
    server.reset();
    CHECK_NOTHROW(StatusServer(address));
    ::close(ends[1]);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
}
