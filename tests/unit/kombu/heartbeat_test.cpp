// SPDX-License-Identifier: BSD-3-Clause
// Heartbeats: when they are due, how the interval is negotiated, and how a silent peer is detected.
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

/// Returns the heartbeat in the tune-ok that answers the broker's offer.
int negotiated_heartbeat(std::chrono::seconds wanted, std::uint16_t offered) {
    amqp::Session session{"peer"};
    auto login = amqp::log_in(session, {.userid = "user", .password = "password", .virtual_host = "/"}, wanted);
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
    amqp::DecodeMemory memory;
    const amqp::DecodedMethod tune_ok{output.substr(7, output.find('\xce') - 7), memory};
    CHECK(session.heartbeat().count() == tune_ok.as<amqp_connection_tune_ok_t>().heartbeat);
    return tune_ok.as<amqp_connection_tune_ok_t>().heartbeat;
}

}  // namespace

TEST_CASE("a heartbeat is sent after half an interval without other frames, and two missed ones end it",
          "[heartbeat]") {
    ManualClock clock;
    Heartbeat heartbeat{4s, clock.now()};
    const auto poll_after = [&](std::chrono::milliseconds time) {
        clock.advance(time);
        return heartbeat.poll(clock.now());
    };
    CHECK(poll_after(499ms) == Heartbeat::Action::none);
    for (int i = 0; i < 2; ++i) {
        CHECK(poll_after(501ms) == Heartbeat::Action::none);
        heartbeat.on_received();
    }
    CHECK(poll_after(500ms) == Heartbeat::Action::send);
    // Any other frame replaces a heartbeat.
    for (int i = 0; i < 8; ++i) {
        heartbeat.on_sent();
        heartbeat.on_received();
        CHECK(poll_after(500ms) == Heartbeat::Action::none);
    }
    // Silence is detected no earlier than after 1.5 intervals, and by the end of the second.
    int frames = 0, polls = 0;
    for (auto action = poll_after(500ms); action != Heartbeat::Action::time_out; action = poll_after(500ms)) {
        frames += action == Heartbeat::Action::send ? 1 : 0;
        REQUIRE(++polls < 16);
    }
    CHECK(frames >= 3);
    CHECK(polls * 500ms >= 6s);
    CHECK(polls * 500ms < 8s);
    CHECK(Heartbeat{}.next_poll().is_never());
    CHECK(Heartbeat{}.poll(clock.now() + 1h) == Heartbeat::Action::none);
}

TEST_CASE("C23 heartbeats are negotiated as Kombu does", "[heartbeat]") {
    CHECK(negotiated_heartbeat(0s, 60) == 0);
    CHECK(negotiated_heartbeat(0s, 0) == 0);
    CHECK(negotiated_heartbeat(10s, 60) == 10);
    CHECK(negotiated_heartbeat(60s, 10) == 10);
    CHECK(negotiated_heartbeat(10s, 0) == 10);
}

TEST_CASE("an unused connection detects a silent peer within two intervals", "[heartbeat][failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) {
        script::open_channel(peer);
        peer.wait_for_close();
    }};
    pools::ConnectionPool pool{Connection{silent.url("?heartbeat=1")}, {.limit = 1}};
    auto lease = pool.acquire();
    Channel channel = lease->default_channel();
    const auto start = Clock::now();
    REQUIRE(lease->connected());
    REQUIRE(eventually([&] { return !lease->connected(); }));
    CHECK(Clock::now() - start > 1200ms);
    CHECK(Clock::now() - start < 10s);
    CHECK_THROWS_WITH(channel.queue_declare(Queue{"q"}), Contains("heartbeat"));  // the reason, of this session
}

TEST_CASE("an operation that waits for a silent peer fails within two intervals", "[heartbeat][failure]") {
    ScriptedPeer silent{[](PeerSocket& peer) {
        script::open_channel(peer);
        peer.receive_frame();
        peer.wait_for_close();
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
    std::atomic<int> heartbeats{0}, clients{0};
    std::atomic<bool> answered{false};
    ScriptedPeer strict{[&](PeerSocket& peer) {
        ++clients;
        script::open_channel(peer);
        // As strict as a broker: disconnects a client that sends nothing for two intervals.
        for (auto last = Clock::now(); Clock::now() - last < 2s;) {
            const std::string frame = peer.receive_frame();
            if (frame.empty()) return;
            last = Clock::now();
            if (is_heartbeat(frame)) {
                ++heartbeats;
                peer.send(heartbeat_frame);
            } else if (frame[0] == AMQP_FRAME_BODY) {
                answered = true;
                peer.send(script::ack(1));
            }
        }
    }};
    const Connection connection{strict.url("?heartbeat=1")};
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    connections[connection].acquire()->default_channel();
    REQUIRE(eventually([&] { return heartbeats >= 6; }));  // three intervals
    producers[connection].acquire()->publish("text", {.routing_key = "q"});
    CHECK(answered);
    CHECK(clients == 1);
}
