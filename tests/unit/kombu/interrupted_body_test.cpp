// SPDX-License-Identifier: BSD-3-Clause
// What comes while a body of many frames is sent and the socket is full.
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/open_session.hpp"
#include "support/scripted_peer.hpp"

#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

#include <atomic>
#include <initializer_list>
#include <optional>
#include <string>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr std::size_t body_size = std::size_t{64} << 20;

/// Publishes a body that is larger than what sockets take. The peer reads nothing until the client waits for it.
class Interruption {
public:
    explicit Interruption(bool confirms)
        : confirms_(confirms), connection_{peer_.url(confirms ? "" : "?confirm_publish=false")} {
        connection_.default_channel();
        Producer producer{connection_};
        producer.async_publish(
            std::string(body_size, 'x'), {.routing_key = "q", .content_type = "text/plain"},
            asio::bind_cancellation_slot(signal_.slot(),
                                         asio::bind_executor(io_, [this](error_code error) { ended_ = error; })));
        io_.poll();  // returns when the operation waits
        CHECK_FALSE(ended_.has_value());
    }
    ~Interruption() { peer_reads_ = true; }

    /// The peer sends these frames. Returns when the client has processed them.
    void send(const std::string& frames) {
        to_send_ = frames;
        peer_sends_ = true;
        REQUIRE(eventually([&] { return !peer_sends_; }));
        // Only input ends the client's wait, as long as nobody reads.
        CHECK(io_.run_one_for(10s) == 1);
        io_.poll();
    }
    void cancel() { signal_.emit(asio::cancellation_type::terminal); }
    /// The peer reads from now on. Returns how the publish has ended.
    error_code result() {
        peer_reads_ = true;
        io_.restart();
        io_.run_for(30s);
        REQUIRE(ended_.has_value());
        return *ended_;
    }
    Connection& connection() { return connection_; }
    /// The methods that the peer has received after the log-in, by their numbers, and "body" when one was complete.
    std::string received() {
        connection_.release();
        REQUIRE(eventually([&] { return peer_done_.load(); }));
        return received_;
    }

private:
    void play(PeerSocket& peer) {
        script::log_in(peer);
        peer.receive_frame();
        if (confirms_) peer.receive_frame();
        peer.send(script::channel_open_ok() + (confirms_ ? script::confirm_ok() : ""));
        while (!peer_reads_ && !peer.stopped()) {
            if (peer_sends_) {
                peer.send(to_send_);
                peer_sends_ = false;
            }
            std::this_thread::yield();
        }
        std::size_t body = 0;
        for (std::string frame = peer.receive_frame(); !frame.empty(); frame = peer.receive_frame()) {
            if (frame[0] == AMQP_FRAME_BODY && (body += frame.size() - 8) == body_size) received_ += "body ";
            if (frame[0] == AMQP_FRAME_METHOD)
                received_ += std::to_string(amqp::method_number(std::string_view{frame}.substr(7))) + ' ';
            if (amqp::method_number(std::string_view{frame}.substr(7)) == AMQP_CONNECTION_CLOSE_METHOD)
                peer.send(script::method(0, AMQP_CONNECTION_CLOSE_OK_METHOD, amqp_connection_close_ok_t{}));
        }
        peer_done_ = true;
    }

    const bool confirms_;
    std::atomic<bool> peer_sends_{false}, peer_reads_{false}, peer_done_{false};
    std::string to_send_{}, received_{};
    ScriptedPeer peer_{[this](PeerSocket& peer) { play(peer); }};
    Connection connection_;
    asio::io_context io_{};
    asio::cancellation_signal signal_{};
    std::optional<error_code> ended_{};
};

std::string numbers(std::initializer_list<amqp_method_number_t> methods) {
    std::string text;
    for (const auto method : methods) text += std::to_string(method) + ' ';
    return text;
}

}  // namespace

TEST_CASE("a channel that is closed in the middle of a body ends the message, and nothing follows close-ok",
          "[amqp][failure]") {
    Interruption publish{GENERATE(true, false)};
    publish.send(
        script::method(1, AMQP_CHANNEL_CLOSE_METHOD, amqp_channel_close_t{404, amqp::bytes("no exchange"), 0, 0}));
    CHECK(publish.result() == errc::channel);
    CHECK(publish.connection().connected());
    CHECK(publish.received() ==
          numbers({AMQP_BASIC_PUBLISH_METHOD, AMQP_CHANNEL_CLOSE_OK_METHOD, AMQP_CONNECTION_CLOSE_METHOD}));
}

TEST_CASE("a reply of a channel follows the body that it is sending", "[amqp]") {
    Interruption publish{false};
    publish.send(script::method(1, AMQP_CHANNEL_FLOW_METHOD, amqp_channel_flow_t{1}));
    CHECK_FALSE(publish.result());
    CHECK(publish.received() ==
          numbers({AMQP_BASIC_PUBLISH_METHOD}) + "body " +
              numbers({AMQP_CHANNEL_FLOW_OK_METHOD, AMQP_CHANNEL_CLOSE_METHOD, AMQP_CONNECTION_CLOSE_METHOD}));
}

TEST_CASE("a publish that is cancelled in the middle of a body costs its connection", "[amqp][cancellation]") {
    Interruption publish{true};
    publish.cancel();
    CHECK(publish.result() == asio::error::operation_aborted);
    CHECK_FALSE(publish.connection().connected());
}

TEST_CASE("a large message whose deadline has passed is not begun, and the connection stays", "[amqp][failure]") {
    ScriptedPeer peer{[](PeerSocket& socket) {
        script::open_channel(socket);
        socket.wait_for_close();
    }};
    Connection connection{peer.url()};
    Producer producer{connection};
    connection.default_channel();
    CHECK_THROWS_AS(
        producer.publish(std::string(300'000, 'x'), {.routing_key = "q", .content_type = "text/plain", .timeout = 1ns}),
        Timeout);
    CHECK(connection.connected());
}

TEST_CASE("replies of a channel are kept back while a body is being sent", "[amqp]") {
    script::OpenSession opened;
    amqp::Session& session = opened.session;
    const amqp_basic_deliver_t deliver{amqp::bytes("gone"), 5, 0, amqp::bytes("ex"), amqp::bytes("key")};
    const std::string late = script::method(1, AMQP_BASIC_DELIVER_METHOD, deliver) + script::content(1, "late");
    session.begin_body(*opened.channel);
    script::feed(session, late);
    CHECK(session.output().empty());
    SECTION("until its end") {
        session.end_body(*opened.channel);
        CHECK(session.output() == script::method(1, AMQP_BASIC_REJECT_METHOD, amqp_basic_reject_t{5, 1}));
        session.output().clear();
        script::feed(session, late);
        CHECK_FALSE(session.output().empty());
    }
    SECTION("and dropped when the channel is closed") {
        script::feed(session, script::method(1, AMQP_CHANNEL_CLOSE_METHOD,
                                             amqp_channel_close_t{404, amqp::bytes("no exchange"), 0, 0}));
        const std::string close_ok = session.output();
        CHECK_FALSE(close_ok.empty());
        session.end_body(*opened.channel);
        CHECK(session.output() == close_ok);
    }
}
