// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include "redis/session.hpp"

#include <cstring>

using namespace kombu;
using namespace kombu::redis;
using namespace std::chrono_literals;

namespace {

/// A session without a socket.
struct Offline {
    Options options{};
    Session session{"peer", options};

    void receive(std::string_view bytes) {
        const auto [space, size] = session.input_space();
        REQUIRE(bytes.size() <= size);
        std::memcpy(space, bytes.data(), bytes.size());
        session.input_added(bytes.size());
    }
    async::Operation<std::int64_t> count() {
        session.send({"INCR", "n"});
        const Reply reply = co_await session.await_reply(Reply::Type::integer, "INCR");
        co_return reply.integer;
    }
};

}  // namespace

TEST_CASE("an operation waits until the whole reply has arrived", "[redis]") {
    Offline redis;
    async::Operation<std::int64_t> counting = redis.count();
    CHECK_FALSE(counting.resume());
    for (const char* piece : {":", "12", "34\r"}) {
        redis.receive(piece);
        CHECK_FALSE(counting.resume());
        CHECK(counting.wait().until.is_never());
    }
    redis.receive("\n");
    REQUIRE(counting.resume());
    CHECK(counting.result() == 1234);
}

TEST_CASE("a reply that has arrived before is not waited for", "[redis]") {
    Offline redis;
    redis.session.send({"PING"});
    redis.receive("+PONG\r\n");
    auto awaiting = [](Session& session) -> async::Operation<Reply> {
        Reply reply = co_await session.await_reply();
        co_return reply;
    }(redis.session);
    REQUIRE(awaiting.resume());
    CHECK(awaiting.result().text == "PONG");
}

TEST_CASE("the wait for a reply ends with the session, the timeout, or a reply of another type", "[redis][errors]") {
    Offline redis;
    redis.options.socket_timeout = 10s;
    async::Operation<std::int64_t> counting = redis.count();
    CHECK_FALSE(counting.resume());
    const auto remaining = counting.wait().until.remaining();
    CHECK((remaining > 5s && remaining <= 10s));
    SECTION("the session has failed") {
        redis.session.fail(ConnectionError("lost"));
        REQUIRE(counting.resume());
        CHECK_THROWS_WITH(counting.result(), "lost");
    }
    SECTION("the time has passed") {
        REQUIRE(counting.resume({}));
        CHECK_THROWS_AS(counting.result(), Timeout);
    }
    SECTION("an error") {
        redis.receive("-WRONGTYPE of the key\r\n");
        REQUIRE(counting.resume());
        CHECK_THROWS_AS(counting.result(), ChannelError);
    }
    SECTION("another type") {
        redis.receive("+OK\r\n");
        REQUIRE(counting.resume());
        CHECK_THROWS_AS(counting.result(), ConnectionError);
    }
}

TEST_CASE("with retry_on_timeout a reply has twice the socket_timeout", "[redis]") {
    Offline redis;
    redis.options.socket_timeout = 10s;
    redis.options.retry_on_timeout = true;
    async::Operation<std::int64_t> counting = redis.count();
    CHECK_FALSE(counting.resume());
    CHECK(counting.wait().until.remaining() > 15s);
}
