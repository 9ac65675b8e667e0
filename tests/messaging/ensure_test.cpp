// SPDX-License-Identifier: BSD-3-Clause
// Connection::ensure, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/messaging_fixture.hpp"

#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

constexpr RetryPolicy three_retries{.max_retries = 3u, .interval_step = 0s};

}  // namespace

TEST_CASE_METHOD(Messaging, "C19 ensure returns what the function returns", "[ensure]") {
    CHECK(connection.ensure([] { return 42; }) == 42);
    CHECK(connection.connected());
    int calls = 0;
    connection.ensure([&] { ++calls; });
    CHECK(calls == 1);
}

TEST_CASE_METHOD(Messaging, "C19 ensure makes exactly max_retries + 1 calls, whatever the kind of error", "[ensure]") {
    int calls = 0;
    std::vector<std::string> errors;
    const Connection::OnError record = [&](const std::exception& error, std::chrono::milliseconds) {
        errors.push_back(error.what());
    };
    SECTION("an error of the connection") {
        try {
            connection.ensure([&] { ++calls, throw ConnectionError("broken"); }, three_retries, record);
            FAIL("no error");
        } catch (const ConnectionError& error) {
            CHECK_THAT(error.what(), Contains("broken; gave up after 4 attempts"));
        }
    }
    SECTION("an error of the channel that may pass") {
        CHECK_THROWS_AS(connection.ensure([&] { ++calls, throw ChannelError("locked", 405); }, three_retries, record),
                        ChannelError);
    }
    SECTION("a refusal") {
        CHECK_THROWS_AS(connection.ensure([&] { ++calls, throw Nacked("full"); }, three_retries, record), Nacked);
    }
    CHECK(calls == 4);
    CHECK(errors.size() == 3);
}

TEST_CASE_METHOD(Messaging, "C19 ensure throws an error of the program's own type as it was", "[ensure]") {
    struct Own : OperationalError {
        using OperationalError::OperationalError;
        bool is_retryable() const noexcept override { return true; }
        int detail = 7;
    };
    try {
        connection.ensure([] { throw Own("mine"); }, three_retries);
        FAIL("no error");
    } catch (const Own& error) {
        CHECK(error.detail == 7);
    }
}

TEST_CASE_METHOD(Messaging, "C19 ensure throws at once what a retry cannot help", "[ensure]") {
    int calls = 0;
    CHECK_THROWS_AS(connection.ensure([&] { ++calls, throw ChannelError("no queue", 404); }), ChannelError);
    CHECK_THROWS_AS(connection.ensure([&] { ++calls, throw std::logic_error("bug"); }), std::logic_error);
    CHECK(calls == 2);
}

TEST_CASE_METHOD(Messaging, "C19 ensure connects anew when the connection has failed", "[ensure]") {
    int calls = 0;
    const std::string result = connection.ensure(
        [&](Channel& channel) {
            if (++calls == 1) {
                connection.release();
                channel.queue_declare(topology.queue);  // of a closed connection
            }
            return channel.queue_declare(Queue{topology.queue.name(), {.auto_delete = true}}).name;
        },
        three_retries);
    CHECK(result == topology.queue.name());
    CHECK(calls == 2);
    CHECK(connection.connected());
}

TEST_CASE_METHOD(Messaging, "C20 a function that takes a channel gets the default channel", "[ensure]") {
    const auto info = connection.ensure([&](Channel& channel) { return channel.queue_declare(topology.queue); });
    CHECK(info.name == topology.queue.name());
    const Channel channel = connection.ensure([](Channel& given) { return given; });
    CHECK(channel.is_open());
    // A refusal closes the channel; the next call has a new one.
    CHECK_THROWS_AS(connection.ensure([](Channel& given) {
        given.queue_declare(Queue{unique("missing"), {.passive = true}});
    }),
                    ChannelError);
    CHECK(connection.ensure([](Channel& given) { return given.is_open(); }));
}

TEST_CASE("ensure ends with its timeout when no broker answers", "[ensure]") {
    Connection nobody{"amqp://127.0.0.1:1"};
    int calls = 0;
    const auto begin = Clock::now();
    CHECK_THROWS_AS(nobody.ensure([&] { ++calls; }, {.timeout = 200ms}), ConnectionError);
    CHECK(Clock::now() - begin < 10s);
    CHECK(calls == 0);
}
