// Heartbeats: when they are due, what is agreed on, and what a silent peer comes to.
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/manual_clock.hpp"
#include "support/scripted_peer.hpp"

#include <kombu/kombu.hpp>

#include "amqp/heartbeat.hpp"
#include "amqp/operations.hpp"
#include "amqp/session.hpp"

#include <cstring>

using namespace kombu;
using namespace std::chrono_literals;
using amqp::Heartbeat;
using Catch::Matchers::Contains;

namespace {

bool is_heartbeat(const std::string& frame) { return frame.size() == 8 && frame[0] == AMQP_FRAME_HEARTBEAT; }
const std::string heartbeat_frame = [] {
    std::string frame;
    amqp::append_heartbeat(frame);
    return frame;
}();

/// The heartbeat of the tune-ok that answers a broker's offer.
int agreed(std::chrono::seconds wanted, std::uint16_t offered) {
    amqp::Session session{"peer"};
    auto login = amqp::log_in(session, "user", "password", "/", wanted);
    const auto feed = [&](const std::string& data) {
        const auto [space, size] = session.input_space();
        REQUIRE(size >= data.size());
        std::memcpy(space, data.data(), data.size());
        session.input_added(data.size());
    };
    login.resume();
    feed(script::start());
    login.resume();
    session.output().clear();
    feed(script::method(0, AMQP_CONNECTION_TUNE_METHOD, amqp_connection_tune_t{2047, 131072, offered}));
    login.resume();
    const std::string_view output = session.output();
    const amqp::DecodedMethod tune_ok{output.substr(7, output.find('\xce') - 7)};
    CHECK(session.heartbeat().count() == tune_ok.as<amqp_connection_tune_ok_t>().heartbeat);
    return tune_ok.as<amqp_connection_tune_ok_t>().heartbeat;
}

}  // namespace

TEST_CASE("a heartbeat is sent after half an interval without anything else, and two missed ones are the end",
          "[heartbeat]") {
    ManualClock clock;
    Heartbeat beat{4s, clock.now()};
    const auto look_in = [&](std::chrono::milliseconds time) {
        clock.advance(time);
        return beat.look(clock.now());
    };
    CHECK(look_in(499ms) == Heartbeat::Due::nothing);
    for (int i = 0; i < 2; ++i) {
        CHECK(look_in(501ms) == Heartbeat::Due::nothing);
        beat.received();
    }
    CHECK(look_in(500ms) == Heartbeat::Due::frame);
    // Whatever else is said stands for it.
    for (int i = 0; i < 8; ++i) {
        beat.sent();
        beat.received();
        CHECK(look_in(500ms) == Heartbeat::Due::nothing);
    }
    // Silence: never within less than 1.5 intervals, always by the end of the second.
    int frames = 0, looks = 0;
    for (auto due = look_in(500ms); due != Heartbeat::Due::end; due = look_in(500ms)) {
        frames += due == Heartbeat::Due::frame ? 1 : 0;
        REQUIRE(++looks < 16);
    }
    CHECK(frames >= 3);
    CHECK(looks * 500ms >= 6s);
    CHECK(looks * 500ms < 8s);
    CHECK(Heartbeat{}.next().is_never());
    CHECK(Heartbeat{}.look(clock.now() + 1h) == Heartbeat::Due::nothing);
}

TEST_CASE("heartbeats are agreed on as Kombu does", "[heartbeat]") {
    CHECK(agreed(0s, 60) == 0);
    CHECK(agreed(0s, 0) == 0);
    CHECK(agreed(10s, 60) == 10);
    CHECK(agreed(60s, 10) == 10);
    CHECK(agreed(10s, 0) == 10);
}

TEST_CASE("a peer that falls silent is found out within two intervals, by nobody's doing", "[heartbeat][failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) {
        script::log_in(peer);
        peer.hold();
    }};
    pools::ConnectionPool pool{Connection{silent.url("?heartbeat=1")}, {.limit = 1}};
    auto lease = pool.acquire();
    lease->connect();
    const auto start = Clock::now();
    REQUIRE(lease->connected());
    REQUIRE(eventually([&] { return !lease->connected(); }));
    CHECK(Clock::now() - start > 1200ms);
    CHECK(Clock::now() - start < 2500ms);
    try {
        lease->default_channel();
    } catch (const ConnectionError& error) {
        CHECK_THAT(error.what(), Contains("heartbeat"));
    }
}

TEST_CASE("somebody who waits for a silent peer is told within two intervals", "[heartbeat][failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) {
        script::open(peer);
        peer.receive_frame();
        peer.hold();
    }};
    Connection connection{silent.url("?heartbeat=1")};
    Channel channel = connection.default_channel();
    const auto start = Clock::now();
    try {
        channel.queue_purge("q", 20s);
        FAIL("answered");
    } catch (const ConnectionError& error) {
        CHECK_THAT(error.what(), Contains("heartbeat"));
    }
    CHECK(Clock::now() - start < 2500ms);
    CHECK_FALSE(connection.connected());
}

TEST_CASE("a connection idle in its pool for three intervals publishes without an error", "[heartbeat]") {
    std::atomic<int> beats{0}, clients{0};
    std::atomic<bool> answered{false};
    ScriptedPeer strict{[&](PeerSocket& peer) {
        ++clients;
        script::open(peer);
        // As strict as a broker: a client that says nothing for two intervals is cut off.
        for (auto last = Clock::now(); Clock::now() - last < 2s;) {
            const std::string frame = peer.receive_frame();
            if (frame.empty()) return;
            last = Clock::now();
            if (is_heartbeat(frame)) {
                ++beats;
                peer.send(heartbeat_frame);
            } else if (frame[0] == AMQP_FRAME_BODY) {
                peer.send(script::ack(1));
                answered = true;
            }
        }
    }};
    const Connection connection{strict.url("?heartbeat=1")};
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    connections[connection].acquire()->default_channel();
    REQUIRE(eventually([&] { return beats >= 6; }));  // three intervals
    producers[connection].acquire()->publish("text", {.routing_key = "q"});
    CHECK(answered);
    CHECK(clients == 1);
}
