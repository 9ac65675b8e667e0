// SPDX-License-Identifier: BSD-3-Clause
// How a Connection handles peers that are absent, silent, hostile or faulty. The peers are scripts on loopback sockets;
// errors of a real broker are in tests/integration.
#include "client/client_access.hpp"
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <kombu/kombu.hpp>

#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// Far more than any call here should take, since the machine may be busy, and far less than for ever.
constexpr std::chrono::seconds soon{10};

/// Returns the text of the expected exception. Fails when none is thrown, or the call takes less than `least` or longer
/// than `soon`.
template <class Expected, class Call>
[[nodiscard]] std::string error_of(std::chrono::milliseconds least, Call call) {
    const auto start = Clock::now();
    std::string text;
    try {
        call();
        FAIL("nothing was thrown");
    } catch (const Expected& error) {
        text = error.what();
    }
    const auto took = Clock::now() - start;
    CHECK(took >= least);
    CHECK(took < soon);
    CHECK(text.find("s3cret") == std::string::npos);
    return text;
}

const auto no_answer = Contains("in time");

}  // namespace

TEST_CASE("a closed port is a ConnectionError at once", "[failure]") {
    std::string url;
    {
        ScriptedPeer closed_peer{[](PeerSocket&) {}};
        url = closed_peer.url();
    }
    Connection connection{url};
    CHECK_THROWS_AS(connection.connect(), ConnectionError);
    CHECK_THAT(error_of<Error>(0ms, [&] { connection.connect(); }), Contains("127.0.0.1:") && Contains("refused"));
}

TEST_CASE("a host that does not exist is a ConnectionError that names it", "[failure]") {
    Connection connection{"amqp://u:s3cret@no-such-host.invalid", {.connect_timeout = 3s}};
    CHECK_THAT(error_of<Error>(0ms, [&] { connection.connect(); }), Contains("no-such-host.invalid"));
}

TEST_CASE("a peer that accepts and never answers causes a Timeout after connect_timeout", "[failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) { peer.wait_for_close(); }};
    Connection connection{silent.url("?connect_timeout=0.2")};
    CHECK_THROWS_AS(connection.connect(), Timeout);
    CHECK_THAT(error_of<Timeout>(200ms, [&] { connection.connect(); }), no_answer);
    CHECK_FALSE(connection.connected());
}

TEST_CASE("a peer that sends heartbeats without end is given up after connect_timeout", "[failure]") {
    ScriptedPeer dripping{[](PeerSocket& peer) {
        const std::string heartbeat = std::string("\x08\0\0\0\0\0\0\xce", 8);
        peer.receive(8);
        while (!peer.stopped() && peer.receive(1).empty()) {
            for (int i = 0; i < 100 && !peer.stopped(); ++i) peer.send(heartbeat);
            break;
        }
        while (!peer.stopped()) peer.send(heartbeat);
    }};
    Connection connection{dripping.url("?connect_timeout=0.2")};
    CHECK_THAT(error_of<Timeout>(200ms, [&] { connection.connect(); }), Contains("no answer in time"));
}

TEST_CASE("a peer that is not AMQP is refused at once", "[failure]") {
    ScriptedPeer http{[](PeerSocket& peer) {
        peer.receive(8);
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.wait_for_close();
    }};
    Connection connection{http.url()};
    CHECK_THAT(error_of<Error>(0ms, [&] { connection.connect(); }), Contains("does not speak AMQP"));
}

TEST_CASE("a peer that closes during the log-in is a ConnectionError", "[failure]") {
    ScriptedPeer closing{[](PeerSocket& peer) {
        peer.receive(8);
        peer.send(script::start());
        peer.receive_frame();
    }};
    Connection connection{closing.url()};
    CHECK_THAT(error_of<Error>(0ms, [&] { connection.connect(); }), Contains("closed the connection"));
}

TEST_CASE("a broker that offers no PLAIN log-in is refused", "[failure]") {
    ScriptedPeer external{[](PeerSocket& peer) {
        amqp_connection_start_t fields{};
        fields.version_minor = 9;
        fields.mechanisms = amqp::bytes("EXTERNAL PLAINX");
        fields.locales = amqp::bytes("en_US");
        peer.receive(8);
        peer.send(script::method(0, AMQP_CONNECTION_START_METHOD, fields));
        peer.wait_for_close();
    }};
    Connection connection{external.url()};
    CHECK_THAT(error_of<Error>(0ms, [&] { connection.connect(); }), Contains("PLAIN"));
}

TEST_CASE("a broker that goes silent after the log-in fails the call at its deadline", "[failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) {
        script::open_channel(peer);
        peer.wait_for_close();
    }};
    Connection connection{silent.url()};
    Producer producer{connection};
    SECTION("publish, by its timeout") {
        CHECK_THAT(error_of<Timeout>(200ms, [&] { producer.publish(1, {.routing_key = "q", .timeout = 200ms}); }),
                   no_answer);
        CHECK_FALSE(connection.connected());
    }
    SECTION("publish, by its confirm_timeout") {
        CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .confirm_timeout = 50ms}), Timeout);
    }
    SECTION("a large publish that the peer does not read") {
        const std::string large(20'000'000, 'x');
        CHECK_THAT(error_of<Timeout>(200ms, [&] { producer.publish(large, {.routing_key = "q", .timeout = 200ms}); }),
                   no_answer);
    }
    SECTION("a declaration") {
        CHECK_THAT(error_of<Timeout>(200ms, [&] { connection.default_channel().queue_declare(Queue{"q"}, 200ms); }),
                   no_answer);
    }
    SECTION("by the operation timeout when none is given") {
        Connection impatient{silent.url("?operation_timeout=0.2")};
        CHECK_THAT(error_of<Timeout>(200ms, [&] { impatient.default_channel().queue_declare(Queue{"q"}); }), no_answer);
    }
    SECTION("with retries, all of them together") {
        CHECK_THAT(error_of<Timeout>(150ms,
                                     [&] {
                                         producer.publish(1, {.routing_key = "q",
                                                              .retry = true,
                                                              .retry_policy = {.max_retries = std::nullopt},
                                                              .timeout = 400ms,
                                                              .confirm_timeout = 100ms});
                                     }),
                   no_answer);
    }
    SECTION("closing it takes no longer than a second") {
        connection.connect();
        const auto start = Clock::now();
        connection.release();
        CHECK(Clock::now() - start < soon);
        CHECK_FALSE(connection.connected());
    }
}

TEST_CASE("M7 publishing to a silent broker ends with a Timeout at the timeout of the call", "[failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) { peer.wait_for_close(); }};
    Connection connection{silent.url()};
    Producer producer{connection};
    CHECK_THAT(error_of<Timeout>(150ms, [&] { producer.publish(1, {.routing_key = "q", .timeout = 150ms}); }),
               no_answer);
}

TEST_CASE("the Timeout of a publish to a blocked broker says so, and the connection stays open", "[failure]") {
    std::atomic<bool> unblock{false};
    ScriptedPeer blocked{[&](PeerSocket& peer) {
        script::open_channel(peer);
        script::receive_publish(peer);
        peer.send(script::blocked("low on memory"));
        while (!unblock && !peer.stopped()) std::this_thread::yield();
        peer.send(script::method(0, AMQP_CONNECTION_UNBLOCKED_METHOD, amqp_connection_unblocked_t{}));
        script::receive_publish(peer);
        peer.send(script::ack(2, true));
        peer.wait_for_close();
    }};
    Connection connection{blocked.url()};
    Producer producer{connection};
    CHECK_THAT(error_of<Timeout>(200ms, [&] { producer.publish(1, {.routing_key = "q", .timeout = 200ms}); }),
               Contains("blocked: low on memory"));
    CHECK_THAT(error_of<Timeout>(100ms, [&] { producer.publish(2, {.routing_key = "q", .timeout = 100ms}); }),
               Contains("nothing was sent"));
    CHECK(connection.connected());
    unblock = true;
    CHECK_NOTHROW(producer.publish(3, {.routing_key = "q", .timeout = 5s}));
}

TEST_CASE("confirm_timeout begins when a peer that reads slowly has been sent the whole message", "[failure]") {
    const std::string large(std::size_t{32} << 20, 'x');
    ScriptedPeer slow{[&](PeerSocket& peer) {
        script::open_channel(peer);
        std::this_thread::sleep_for(2500ms);  // longer than the confirm_timeout
        for (std::size_t received = 0; received < large.size() && !peer.stopped();)
            received += peer.receive_frame().size();
        peer.send(script::ack(1, true));
        peer.wait_for_close();
    }};
    Connection connection{slow.url()};
    Producer producer{connection};
    CHECK_NOTHROW(producer.publish(large, {.routing_key = "q", .timeout = 30s, .confirm_timeout = 2s}));
    CHECK(connection.connected());
}

TEST_CASE("a deadline that passes while a peer reads a large body fails the session", "[failure]") {
    const std::string large(std::size_t{64} << 20, 'x');
    ScriptedPeer reading{[&](PeerSocket& peer) {
        script::open_channel(peer);
        while (!peer.receive_frame().empty()) {
        }
    }};
    Connection connection{reading.url()};
    Producer producer{connection};
    connection.connect();
    CHECK_THAT(
        error_of<Timeout>(
            5ms, [&] { producer.publish(large, {.routing_key = "q", .content_type = "text/plain", .timeout = 5ms}); }),
        no_answer);
    CHECK_FALSE(connection.connected());
}

TEST_CASE("confirmations of the wrong messages are not treated as success", "[failure]") {
    ScriptedPeer lying{[](PeerSocket& peer) {
        script::open_channel(peer);
        script::receive_publish(peer);
        peer.send(script::ack(7));
        peer.wait_for_close();
    }};
    Connection connection{lying.url()};
    Producer producer{connection};
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .timeout = 2s}), ConnectionError);
}

TEST_CASE("a pool does not hand out a connection that its peer has closed or is closing", "[failure][pools]") {
    std::atomic<int> clients{0};
    std::atomic<bool> close{false};
    ScriptedPeer leaving{[&](PeerSocket& peer) {
        script::log_in(peer);
        if (++clients > 1) return peer.wait_for_close();
        while (!close && !peer.stopped()) std::this_thread::yield();
    }};
    pools::ConnectionPool pool{Connection{leaving.url()}, {.limit = 1}};
    {
        auto lease = pool.acquire();
        lease->connect();
        close = true;
    }
    CHECK(eventually([&] {
        auto lease = pool.acquire();
        return !lease->connected();
    }));
    auto lease = pool.acquire();
    lease->connect();
    CHECK(lease->connected());
    CHECK(eventually([&] { return clients == 2; }));
}

TEST_CASE("the error of a full pool of connections reports the last connect error", "[failure][pools]") {
    ScriptedPeer http{[](PeerSocket& peer) {
        peer.receive(8);
        peer.send("HTTP/1.1 400 Bad Request");
        peer.wait_for_close();
    }};
    pools::ConnectionPool pool{Connection{http.url()}, {.limit = 1}};
    auto lease = pool.acquire();
    CHECK_THROWS_AS(lease->connect(), ConnectionError);
    CHECK_THAT(error_of<Error>(0ms, [&] { (void)pool.acquire(); }),
               Contains("last connect error:") && Contains("does not speak AMQP"));
}

TEST_CASE("the error of a full pool of producers reports the last connect error", "[failure][pools]") {
    std::string url;
    {
        ScriptedPeer closed_peer{[](PeerSocket&) {}};
        url = closed_peer.url();
    }
    pools::ConnectionPool connections{Connection{url}, {.limit = 1}};
    pools::ProducerPool producers{connections, {.limit = 1}};
    auto lease = producers.acquire();
    CHECK_THROWS_AS(lease->publish(1, {.routing_key = "q"}), ConnectionError);
    CHECK_THAT(error_of<Error>(0ms, [&] { (void)producers.acquire(); }), Contains("refused"));
}

TEST_CASE("a publish with a longer timeout may take longer than the operation timeout", "[failure]") {
    ScriptedPeer slow{[](PeerSocket& peer) {
        script::open_channel(peer);
        peer.wait_for_close();
    }};
    Connection connection{slow.url("?operation_timeout=0.1")};
    Producer producer{connection};
    connection.default_channel();
    CHECK_THAT(error_of<Timeout>(300ms, [&] { producer.publish(1, {.routing_key = "q", .timeout = 300ms}); }),
               no_answer);
}

TEST_CASE("a reply of another method than the expected one ends the connection", "[failure]") {
    ScriptedPeer confused{[](PeerSocket& peer) {
        script::open_channel(peer);
        peer.receive_frame();
        peer.send(script::confirm_ok());
        peer.wait_for_close();
    }};
    Connection connection{confused.url()};
    CHECK_THROWS_AS(connection.default_channel().queue_declare(Queue{"q"}), ConnectionError);
    CHECK_FALSE(connection.connected());
}

TEST_CASE("a consumer whose cancel the broker has not confirmed is ended with the lease", "[failure][pools]") {
    std::atomic<bool> closed{false};
    ScriptedPeer slow{[&](PeerSocket& peer) {
        script::open_channel(peer);
        peer.receive_frame();
        peer.send(script::method(1, AMQP_BASIC_GET_EMPTY_METHOD, amqp_basic_get_empty_t{}));
        peer.receive_frame();
        peer.receive_frame();
        peer.send(script::method(1, AMQP_BASIC_QOS_OK_METHOD, amqp_basic_qos_ok_t{}) +
                  script::method(1, AMQP_BASIC_CONSUME_OK_METHOD, amqp_basic_consume_ok_t{amqp::bytes("x")}));
        peer.receive_frame();  // basic.cancel, which is never answered
        const std::string next = peer.receive_frame();
        closed = next.size() > 11 && amqp::method_number(std::string_view{next}.substr(7)) == AMQP_CHANNEL_CLOSE_METHOD;
        peer.wait_for_close();
    }};
    pools::ConnectionPool pool{Connection{slow.url()}, {.limit = 1}};
    {
        auto lease = pool.acquire();
        auto channel = lease->default_channel();
        kombu::detail::ConnectionRef ref{kombu::detail::ClientAccess::state(*lease)};
        const auto shared = net::run(ref.checked().default_channel(Deadline::after(1s)));
        CHECK_FALSE(net::run(shared->wait_for_message(Queue{"q"}, false, Deadline::after(20ms))));
    }
    CHECK(eventually([&] { return closed.load(); }));
}

TEST_CASE("failover tries every endpoint, and stays with the one that worked", "[failure][failover]") {
    std::atomic<int> clients{0};
    std::string closed_peer;
    {
        ScriptedPeer closed{[](PeerSocket&) {}};
        closed_peer = closed.url();
    }
    ScriptedPeer refusing{[](PeerSocket& peer) {
        peer.receive(8);
        peer.send(script::start());
        peer.receive_frame();
        peer.send(script::close_connection(403, "ACCESS_REFUSED - no"));
        peer.receive_frame();
    }};
    ScriptedPeer good{[&](PeerSocket& peer) {
        ++clients;
        script::log_in(peer);
        peer.wait_for_close();
    }};
    Connection connection{closed_peer + ";" + refusing.url(), {.alternates = {good.url()}}};
    CHECK(connection.connect().connected());
    connection.release();
    connection.connect();
    CHECK(clients == 2);

    Connection hopeless{closed_peer + ";" + refusing.url()};
    const std::string error = error_of<Error>(0ms, [&] { hopeless.connect(); });
    CHECK_THAT(error, Contains("refused") && Contains("ACCESS_REFUSED"));
}

TEST_CASE("C11 ensure_connection retries until the broker accepts, and reports each failure", "[failure]") {
    std::atomic<int> clients{0};
    ScriptedPeer slow{[&](PeerSocket& peer) {
        if (++clients < 3) return;
        script::log_in(peer);
        peer.wait_for_close();
    }};
    int failures = 0;
    {
        Connection connection{slow.url()};
        connection.ensure_connection({.max_retries = 5, .interval_step = 1ms},
                                     [&](const std::exception&, auto) { ++failures; });
        CHECK(connection.connected());
        CHECK(failures == 2);
    }

    clients = -10;
    Connection given_up{slow.url()};
    failures = 0;
    CHECK_THROWS_AS(given_up.ensure_connection({.max_retries = 2, .interval_step = 1ms},
                                               [&](const std::exception&, auto) { ++failures; }),
                    ConnectionError);
    CHECK(failures == 2);
}

TEST_CASE("a refused log-in is not tried again", "[failure]") {
    std::atomic<int> clients{0};
    ScriptedPeer refusing{[&](PeerSocket& peer) {
        ++clients;
        peer.receive(8);
        peer.send(script::start());
        peer.receive_frame();
        peer.send(script::close_connection(403, "ACCESS_REFUSED - no"));
        peer.receive_frame();
    }};
    Connection connection{refusing.url()};
    CHECK_THROWS_AS(connection.ensure_connection({.max_retries = std::nullopt}), ConnectionError);
    CHECK(clients == 1);
    Producer producer{connection};
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .retry = true}), ConnectionError);
    CHECK(clients == 2);
}

TEST_CASE("M8 a publish that asked for retries survives a connection that breaks", "[failure]") {
    std::atomic<int> clients{0};
    ScriptedPeer breaking{[&](PeerSocket& peer) {
        script::open_channel(peer);
        script::receive_publish(peer);
        if (++clients == 1) return;  // before the confirmation
        peer.send(script::ack(1));
        peer.wait_for_close();
    }};
    Connection connection{breaking.url()};
    Producer producer{connection};
    CHECK_NOTHROW(producer.publish(1, {.routing_key = "q", .retry = true, .timeout = 5s}));
    CHECK(clients == 2);
    clients = 0;
    connection.release();
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .timeout = 5s}), ConnectionError);
}

TEST_CASE("a broker that resets the connection is quoted with the reason that it had sent", "[failure]") {
    ScriptedPeer leaving{[](PeerSocket& peer) {
        script::open_channel(peer);
        peer.receive(100'000);
        peer.send(script::close_connection(320, "CONNECTION_FORCED - going down"));
        // The end of the script closes the socket with unread data: a reset, which the client meets while it writes.
    }};
    Connection connection{leaving.url()};
    Producer producer{connection};
    CHECK_THAT(error_of<ConnectionError>(
                   0ms, [&] { producer.publish(std::string(32'000'000, 'x'), {.routing_key = "q", .timeout = 20s}); }),
               Contains("going down"));
}

TEST_CASE("a retry after a refusal uses another channel, at most once a second", "[failure]") {
    std::atomic<int> channels{1};
    ScriptedPeer refusing{[&](PeerSocket& peer) {
        const auto nack = [&](std::uint64_t tag, std::uint16_t channel) {
            peer.send(script::method(channel, AMQP_BASIC_NACK_METHOD, amqp_basic_nack_t{tag, 0, 0}));
        };
        script::open_channel(peer);
        script::receive_publish(peer);
        nack(1, 1);
        for (int frame = 0; frame < 3; ++frame) peer.receive_frame();  // close; open and select of another
        ++channels;
        peer.send(script::channel_open_ok(2) + script::confirm_ok(2));
        script::receive_publish(peer);
        nack(1, 2);
        script::receive_publish(peer);  // of the same channel
        peer.send(script::ack(2, false, 2));
        peer.wait_for_close();
    }};
    Connection connection{refusing.url()};
    Producer producer{connection};
    CHECK_NOTHROW(producer.publish(
        1, {.routing_key = "q", .retry = true, .retry_policy = {.interval_step = 10ms}, .timeout = 20s}));
    CHECK(channels == 2);
}

TEST_CASE("without confirms, a refusal is reported by a later publish that was not sent", "[failure]") {
    ScriptedPeer refusing{[](PeerSocket& peer) {
        script::log_in(peer);
        peer.receive_frame();
        peer.send(script::channel_open_ok());
        script::receive_publish(peer);
        amqp_channel_close_t close{404, amqp::bytes("NOT_FOUND - no exchange"), 60, 40};
        peer.send(script::method(1, AMQP_CHANNEL_CLOSE_METHOD, close));
        peer.wait_for_close();
    }};
    Connection connection{refusing.url("?confirm_publish=false")};
    Producer producer{connection};
    producer.publish(1, {.exchange = "missing", .routing_key = "q"});
    CHECK(eventually([&] {
        try {
            producer.publish(2, {.routing_key = "q"});
            return false;
        } catch (const ChannelError& error) {
            CHECK_THAT(error.what(), Contains("earlier message") && Contains("NOT_FOUND"));
            return true;
        }
    }));
}

TEST_CASE("a batch without confirms that the peer does not read is not treated as sent", "[failure]") {
    ScriptedPeer peer{[](PeerSocket& socket) {
        script::log_in(socket);
        socket.receive_frame();
        socket.send(script::channel_open_ok());
        while (!socket.stopped()) std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }};
    Connection connection{peer.url("?confirm_publish=false")};
    Producer producer{connection};
    Batch batch = producer.batch();
    const std::string large(1'000'000, 'x');
    for (int i = 0; i < 30; ++i) batch.publish(large, {.routing_key = "q"});
    CHECK_THROWS_AS(batch.commit(300ms), BatchError);
    CHECK(batch.size() == 30);
}

TEST_CASE("a batch whose retry ends by a callback's exception has forgotten what was confirmed", "[failure]") {
    std::atomic<int> clients{0};
    ScriptedPeer breaking{[&](PeerSocket& peer) {
        const int client = ++clients;
        script::open_channel(peer);
        peer.receive_frame();
        peer.send(script::method(1, AMQP_QUEUE_DECLARE_OK_METHOD, amqp_queue_declare_ok_t{amqp::bytes("q"), 0, 0}));
        if (client > 1) return peer.wait_for_close();
        for (int i = 0; i < 3; ++i) script::receive_publish(peer);
        peer.send(script::ack(2, true));  // and closes, so that the third one is tried again
    }};
    Connection connection{breaking.url()};
    Producer producer{connection};
    const Queue queue{"q", {.on_declared = [&](const QueueInfo&) {
                          if (clients > 1) throw std::runtime_error("from a callback");
                      }}};
    Batch batch = producer.batch();
    for (int i = 0; i < 3; ++i) batch.publish(i, {.routing_key = "q", .declare = {queue}, .retry = true});
    CHECK_THROWS_WITH(batch.commit(10s), "from a callback");
    CHECK(batch.size() == 1);
}

TEST_CASE("bodies that the peer takes in parts arrive whole, one after the other", "[failure]") {
    constexpr int count = 300;
    const auto body = [](int i) {
        return std::string(100'000 + static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
    };
    std::atomic<int> published{0}, arrived{0};
    ScriptedPeer slow{[&](PeerSocket& peer) {
        script::log_in(peer);
        peer.receive_frame();
        peer.send(script::channel_open_ok());
        // Reads when the client has filled the buffers and waits.
        for (int last = -1; last != published && !peer.stopped(); std::this_thread::sleep_for(100ms)) last = published;
        for (int i = 0; i < count && !peer.stopped(); ++i) {
            peer.receive_frame();
            peer.receive_frame();
            const std::string frame = peer.receive_frame();
            if (frame.size() > 8 && std::string_view{frame}.substr(7, frame.size() - 8) == body(i)) ++arrived;
        }
        peer.wait_for_close();
    }};
    Connection connection{slow.url("?confirm_publish=false")};
    Producer producer{connection};
    for (int i = 0; i < count; ++i) {
        producer.publish(body(i), {.routing_key = "q", .timeout = 30s});
        ++published;
    }
    CHECK(eventually([&] { return arrived == count; }));
    CHECK(connection.connected());
}
