// SPDX-License-Identifier: BSD-3-Clause
// Effect of a cancellation: the connection is kept when nothing was sent, and closed in the middle of an exchange.
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"

#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

#include <atomic>
#include <optional>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

/// Publishes through a pool, and cancels when `is_time` returns true. Returns the pool's statistics after that.
template <class IsTime>
PoolStats cancelled_publish(const std::string& url, IsTime is_time) {
    const Connection broker{url};
    pools::ConnectionPool pool{broker, {.limit = 1}};
    asio::io_context io;
    {
        auto lease = pool.acquire();
        lease->default_channel();
        Producer producer{*lease};
        asio::cancellation_signal signal;
        std::optional<error_code> ended;
        producer.async_publish("text", {.routing_key = "q"},
                               asio::bind_cancellation_slot(
                                   signal.slot(), asio::bind_executor(io, [&](error_code error) { ended = error; })));
        io.poll();
        const auto end = Clock::now() + 10s;
        while (!is_time() && Clock::now() < end) io.run_one_for(1ms);
        CHECK_FALSE(ended.has_value());
        signal.emit(asio::cancellation_type::terminal);
        io.restart();
        io.run_for(10s);
        CHECK(ended == error_code{asio::error::operation_aborted});
    }
    return pool.stats();
}

}  // namespace

TEST_CASE("a publish that is cancelled before anything was sent leaves its connection in the pool", "[cancellation]") {
    ScriptedPeer blocked{[](PeerSocket& peer) {
        script::log_in(peer);
        peer.receive_frame();
        peer.receive_frame();
        peer.send(script::channel_open_ok() + script::confirm_ok() + script::blocked("no memory"));
        peer.wait_for_close();
    }};
    const PoolStats stats = cancelled_publish(blocked.url(), [] { return true; });
    CHECK(stats.idle == 1);
    CHECK(stats.closed == 0);
}

TEST_CASE("a publish that is cancelled before it is confirmed costs its connection", "[cancellation]") {
    std::atomic<bool> published{false};
    ScriptedPeer silent{[&](PeerSocket& peer) {
        script::open_channel(peer);
        script::receive_publish(peer);
        published = true;
        peer.wait_for_close();
    }};
    const PoolStats stats = cancelled_publish(silent.url(), [&] { return published.load(); });
    CHECK(stats.idle == 0);
    CHECK(stats.closed == 1);
}
