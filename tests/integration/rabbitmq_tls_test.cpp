// SPDX-License-Identifier: BSD-3-Clause
// RabbitMQ over TLS. What does not concern TLS itself runs over it too: the suites with _tls in their name.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"
#include "support/scripted_peer.hpp"

#include <dlfcn.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const std::string certs = KOMBU_TEST_CERTS;
const std::string ca = "?ssl_ca_certs=" + certs + "/ca.pem";

/// The listeners of tests/support/rabbitmq.sh.
enum Listener { plain = 0, server = 3, mutual = 4, elsewhere = 5, expired = 6, selfsigned = 7, unknown = 8 };

int first_port() { return Connection{broker_url()}.port() - server; }

std::string url(Listener listener, const std::string& query = ca, const std::string& scheme = "amqps",
                const std::string& user = "kombu:kombu-secret") {
    return scheme + "://" + user + "@localhost:" + std::to_string(first_port() + listener) + "/tests" + query;
}

std::string with_certificate(const std::string& name) {
    return "&ssl_certfile=" + certs + '/' + name + ".pem&ssl_keyfile=" + certs + '/' + name + ".key";
}

/// The text of an error that is not worth a retry, and came within the connect_timeout.
std::string refusal(const std::string& to) {
    const auto begin = Clock::now();
    try {
        Connection{to}.connect();
        return "connected";
    } catch (const ConnectionError& error) {
        CHECK_FALSE(error.is_retryable());
        CHECK(Clock::now() - begin < 5s);
        CHECK_THAT(error.what(), !Contains("kombu-secret"));
        return error.what();
    }
}

void round_trip(Connection connection) {
    const std::string name = unique("tls");
    auto queue = connection.simple_queue(name);
    const std::string large(300'000, 'x');
    queue.put(large);
    Message message = queue.get({.timeout = 10s});
    CHECK(message.payload() == large);
    message.ack();
    connection.default_channel().queue_delete(name);
    connection.default_channel().exchange_delete(name);
}

struct Sent {
    std::atomic<bool> counting{false};
    std::atomic<int> calls{0}, records{0};
};
Sent sent;
std::atomic<int> received{0};

}  // namespace

/// Found before the C library's. Counts the TLS records of application data that are written.
extern "C" __attribute__((visibility("default"))) ssize_t send(int fd, const void* data, size_t size, int flags) {
    static auto* const real = reinterpret_cast<ssize_t (*)(int, const void*, size_t, int)>(::dlsym(RTLD_NEXT, "send"));
    if (sent.counting) {
        ++sent.calls;
        const auto* const bytes = static_cast<const unsigned char*>(data);
        for (size_t at = 0; at + 5 <= size && bytes[at] == 23; at += 5 + (size_t{bytes[at + 3]} << 8U) + bytes[at + 4])
            ++sent.records;
    }
    return real(fd, data, size, flags);
}

extern "C" __attribute__((visibility("default"))) ssize_t recv(int fd, void* data, size_t size, int flags) {
    static auto* const real = reinterpret_cast<ssize_t (*)(int, void*, size_t, int)>(::dlsym(RTLD_NEXT, "recv"));
    const ssize_t count = real(fd, data, size, flags);
    if (count > 0) received += static_cast<int>(count);
    return count;
}

TEST_CASE("RabbitMQ over TLS, by scheme or by options, with its certificate verified", "[rabbitmq][tls]") {
    CHECK(Connection{broker_url()}.transport() == "amqps");
    round_trip(Connection{url(server)});
    round_trip(Connection{url(server, "", "amqp"), {.ssl = {{"ca_certs", certs + "/ca.pem"}}}});
    round_trip(Connection{url(server, "", "pyamqp"), {.ssl = {{"ssl_ca_path", certs + "/authorities"}}}});
    CHECK(Connection{"amqps://h"}.port() == 5671);
    CHECK(Connection{"amqp://h", {.ssl = true}} == Connection{"amqps://h"});
    CHECK_FALSE(Connection{"amqps://h"} == Connection{"amqp://h:5671"});
    CHECK(Connection{"amqps://h"}.as_uri() == "amqps://guest:**@h:5671//");
}

TEST_CASE("each way in which TLS fails says what is wrong, in time", "[rabbitmq][tls]") {
    CHECK_THAT(refusal(url(elsewhere)), Contains("not trusted") && Contains("ostname mismatch"));
    CHECK_THAT(refusal(url(expired)), Contains("not trusted") && Contains("expired"));
    CHECK_THAT(refusal(url(selfsigned)), Contains("not trusted") && Contains("self-signed"));
    CHECK_THAT(refusal(url(unknown)), Contains("not trusted") && Contains("issuer"));
    CHECK_THAT(refusal(url(server, "")), Contains("not trusted") && Contains("certificate"));
    CHECK_THAT(refusal(url(mutual)), Contains("requires a client certificate"));
    CHECK_THAT(refusal(url(mutual, ca + with_certificate("untrusted"))), Contains("refuses the client certificate"));
    CHECK_THAT(refusal(url(plain)), Contains("does not speak TLS"));
    CHECK_THAT(refusal(url(server, "", "amqp")), Contains("speaks TLS"));
    CHECK_THAT(refusal(url(server, "?ssl_cert_reqs=none", "amqps", "kombu:wrong")), Contains("ACCESS_REFUSED"));
    CHECK_THROWS_AS(Connection{url(server, "?ssl_ca_certs=/no/such.pem")}.connect(), ConfigurationError);
    CHECK_THROWS_AS(Connection{url(server, "?ssl_ca_path=/no/such")}.connect(), ConfigurationError);
    ScriptedPeer silent{[](PeerSocket& socket) { socket.wait_for_close(); }};
    const auto begin = Clock::now();
    CHECK_THROWS_AS(Connection{"amqps://127.0.0.1:" + std::to_string(silent.port()) + "?connect_timeout=0.3"}.connect(),
                    Timeout);
    CHECK(Clock::now() - begin < 3s);
}

TEST_CASE("a certificate is not verified only when asked, and that is logged", "[rabbitmq][tls]") {
    const LogCapture log;
    round_trip(Connection{url(selfsigned, "?ssl_cert_reqs=none")});
    CHECK_THAT(log.text(), Contains("warning") && Contains("not verified"));
    round_trip(Connection{url(elsewhere, ca + "&ssl_check_hostname=false")});
}

TEST_CASE("users log in by PLAIN, AMQPLAIN, and EXTERNAL with a client certificate", "[rabbitmq][tls]") {
    round_trip(Connection{url(server, ca + "&login_method=AMQPLAIN")});
    round_trip(Connection{url(mutual, ca + with_certificate("client"))});
    for (const Listener listener : {server, mutual}) {
        Connection connection{
            url(listener, ca + with_certificate("client") + "&login_method=EXTERNAL", "amqps", "x:y")};
        round_trip(connection);
        round_trip(connection.clone());
        CHECK_THROWS_AS(connection.default_channel().queue_declare(Queue{"q", {.passive = true}}), ChannelError);
    }
    CHECK_THROWS_AS(Connection{url(server, ca + "&login_method=EXTERNAL")}, ConfigurationError);
    CHECK_THROWS_AS(Connection{url(server, ca + "&login_method=DIGEST")}, ConfigurationError);
    for (const std::string method : {"PLAIN", "AMQPLAIN"}) {
        Connection wrong{url(server, ca + "&login_method=" + method, "amqps", "kombu:wrong")};
        CHECK_THROWS_AS(wrong.connect(), AuthenticationError);
    }
}

TEST_CASE("a publish over TLS is one record and one system call", "[rabbitmq][tls]") {
    Connection connection{broker_url()};
    Producer producer{connection};
    const std::string name = unique("tls");
    producer.publish("first", {.routing_key = name});
    sent.calls = sent.records = 0;
    sent.counting = true;
    for (int i = 0; i < 10; ++i) producer.publish(std::string(1000, 'x'), {.routing_key = name});
    sent.counting = false;
    CHECK(sent.calls == 10);
    CHECK(sent.records == 10);
}

TEST_CASE("the connections of a pool resume the TLS session of an earlier one", "[rabbitmq][tls]") {
    const auto received_by_connecting = [](const std::string& to) {
        pools::ConnectionPool pool{Connection{to}, {.limit = 1}};
        received = 0;
        pool.acquire()->connect();
        return received.load();
    };
    // The tickets come after the handshake. A certificate takes some 500 bytes.
    const std::string own = url(server, ca + "&ssl_check_hostname=false");
    const int full = received_by_connecting(own);
    const int resumed = received_by_connecting(own);
    CHECK(resumed + 400 < full);
    CHECK(received_by_connecting(own) + 400 < full);
    const std::string without_tickets = url(elsewhere, ca + "&ssl_check_hostname=false");
    CHECK(std::abs(received_by_connecting(without_tickets) - received_by_connecting(without_tickets)) < 100);
}

TEST_CASE("a file that has changed is read again, without a restart", "[rabbitmq][tls]") {
    const std::filesystem::path copy = std::filesystem::temp_directory_path() / unique("rotated");
    const auto replace = [&](const std::string& extension, const std::string& with) {
        const auto next = copy.string() + extension + ".new";
        std::filesystem::copy_file(certs + '/' + with + extension, next,
                                   std::filesystem::copy_options::overwrite_existing);
        std::filesystem::rename(next, copy.string() + extension);
    };
    const auto replace_pair = [&](const std::string& with) {
        replace(".key", with);
        replace(".pem", with);
    };
    const std::string authority = url(server, "?ssl_ca_certs=" + copy.string() + ".pem");
    replace(".pem", "ca");
    round_trip(Connection{authority});
    replace(".pem", "rogue");
    CHECK_THAT(refusal(authority), Contains("not trusted"));  // nor is a session resumed
    const std::string own =
        url(mutual, ca + "&ssl_certfile=" + copy.string() + ".pem&ssl_keyfile=" + copy.string() + ".key");
    replace_pair("client");
    round_trip(Connection{own});
    {
        const LogCapture log;
        replace(".key", "untrusted");  // and the certificate a moment later
        round_trip(Connection{own});
        round_trip(Connection{own});
        CHECK_THAT(log.text(), Contains("warning: TLS: the changed files cannot be used") && Contains("ssl_keyfile"));
        CHECK(log.lines().size() == 1);
    }
    replace_pair("untrusted");
    CHECK_THAT(refusal(own), Contains("refuses the client certificate"));
    replace_pair("client");
    round_trip(Connection{own});
    std::filesystem::remove(copy.string() + ".pem");
    std::filesystem::remove(copy.string() + ".key");
}

TEST_CASE("heartbeats keep a connection over TLS alive", "[rabbitmq][tls]") {
    Connection connection{url(server, ca + "&heartbeat=1")};
    connection.connect();
    std::this_thread::sleep_for(3500ms);  // the broker gives up after two or three intervals
    round_trip(connection);
    CHECK(connection.connected());
}

TEST_CASE("failover and reset over TLS", "[rabbitmq][tls]") {
    const std::string closed = "amqps://kombu:kombu-secret@localhost:1/tests";
    Connection connection{closed + ca + ';' + url(server, "")};
    round_trip(connection);
    connection.connect();
    CHECK(connection.port() == first_port() + server);
    CHECK_THAT(connection.as_uri(),
               Catch::Matchers::StartsWith(url(server, "", "amqps", "kombu:**")) && Contains(";amqps://"));
    pools::Connections pool{{.limit = 2}};
    pool[connection].acquire()->connect();
    pool.reset();
    auto lease = pool[connection].acquire();
    round_trip(*lease);
    CHECK(lease->connect().connected());
}

TEST_CASE("a child of fork() does not speak on its parent's TLS session", "[rabbitmq][tls]") {
    Connection connection{broker_url()};
    const std::string name = unique("tls");
    auto queue = connection.simple_queue(name);
    queue.put(1);
    for (int i = 0; i < 5; ++i) {
        CHECK(in_child(
                  [&]() -> std::string {
                      if (connection.connected()) return "connected";
                      connection.simple_queue(name).put(2);
                      return {};
                  },
                  true)
                  .empty());
        queue.put(3);
    }
    CHECK(queue.qsize() == 11);
    connection.default_channel().queue_delete(name);
}
