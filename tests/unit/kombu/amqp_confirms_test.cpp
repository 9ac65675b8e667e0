// SPDX-License-Identifier: BSD-3-Clause
// How the confirmations, refusals and returns of a broker end the wait of a publish.
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/open_session.hpp"

#include <kombu/error.hpp>

#include "amqp/confirm_wait.hpp"
#include "amqp/table.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

using namespace kombu;
using namespace kombu::amqp;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using script::error_of, script::feed, script::OpenSession;

TEST_CASE("a confirmation ends the wait, alone or with others", "[amqp][confirms]") {
    OpenSession opened;
    const auto first = opened.publish_message(), second = opened.publish_message(), third = opened.publish_message();
    auto wait = SingleConfirmWait(opened.session, opened.channel, second, Deadline::never());
    CHECK_FALSE(wait.resume());
    feed(opened.session, script::ack(first));
    CHECK_FALSE(wait.resume());
    feed(opened.session, script::ack(third, true));
    REQUIRE(wait.resume());
    CHECK_NOTHROW(wait.result());
}

TEST_CASE("a refusal is Nacked, and the channel works on", "[amqp][confirms]") {
    OpenSession opened;
    const auto number = opened.publish_message();
    auto wait = SingleConfirmWait(opened.session, opened.channel, number, Deadline::never());
    wait.resume();
    feed(opened.session, script::method(1, AMQP_BASIC_NACK_METHOD, amqp_basic_nack_t{number, 0, 0}));
    REQUIRE(wait.resume());
    CHECK_THROWS_AS(wait.result(), Nacked);
    CHECK(opened.channel->is_open());
}

TEST_CASE("a message returned before its confirmation is Unroutable", "[amqp][confirms]") {
    OpenSession opened;
    const auto number = opened.publish_message();
    auto wait = SingleConfirmWait(opened.session, opened.channel, number, Deadline::never());
    wait.resume();
    feed(opened.session, script::returned() + script::ack(number));
    REQUIRE(wait.resume());
    CHECK_THROWS_AS(wait.result(), Unroutable);
}

TEST_CASE("a late return is not attributed to the next message", "[amqp][confirms]") {
    OpenSession opened;
    const auto given_up = opened.publish_message(), next = opened.publish_message();
    auto wait = SingleConfirmWait(opened.session, opened.channel, next, Deadline::never());
    wait.resume();
    feed(opened.session, script::returned() + script::ack(given_up) + script::ack(next));
    REQUIRE(wait.resume());
    CHECK_NOTHROW(wait.result());
}

TEST_CASE("a return belongs to a mandatory message, also when several are confirmed at once", "[amqp][confirms]") {
    OpenSession opened;
    opened.publish_message();  // mandatory, and no longer waited for
    const auto plain = opened.publish_message("key", "body", false);
    auto wait = SingleConfirmWait(opened.session, opened.channel, plain, Deadline::never());
    wait.resume();
    feed(opened.session, script::returned() + script::ack(plain, true));
    REQUIRE(wait.resume());
    CHECK_NOTHROW(wait.result());
    const auto mandatory = opened.publish_message();
    auto again = SingleConfirmWait(opened.session, opened.channel, mandatory, Deadline::never());
    again.resume();
    feed(opened.session, script::returned() + script::ack(mandatory, true));
    REQUIRE(again.resume());
    CHECK_THROWS_AS(again.result(), Unroutable);
}

TEST_CASE("returns belong to the messages that equal them, not to others that are confirmed with them",
          "[amqp][confirms]") {
    OpenSession opened;
    std::vector<std::uint64_t> numbers;
    SECTION("routed and returned ones by turns, confirmed late and together") {
        std::string frames;
        for (int i = 0; i < 20; ++i) {
            numbers.push_back(opened.publish_message(i % 2 == 0 ? "nobody" : "key", "body " + std::to_string(i)));
            if (i % 2 == 0) frames += script::returned("nobody", "body " + std::to_string(i));
        }
        feed(opened.session, frames);  // more than one before a confirmation
        feed(opened.session, script::ack(numbers[2], true) + script::ack(numbers.back(), true));
        CHECK(opened.refused(numbers) == std::vector<std::uint64_t>{1, 3, 5, 7, 9, 11, 13, 15, 17, 19});
    }
    SECTION("the same key, other bodies") {
        for (const char* const body : {"one", "two", "three"}) numbers.push_back(opened.publish_message("key", body));
        feed(opened.session, script::returned("key", "two") + script::ack(numbers.back(), true));
        CHECK(opened.refused(numbers) == std::vector{numbers[1]});
    }
    SECTION("the same key and body, other properties") {
        const auto with_id = [](const std::string& id) {
            MessageMetadata head{.exchange = "ex", .routing_key = "key", .mandatory = true};
            head.properties.message_id = id;
            return std::make_shared<const MessageMetadata>(head);
        };
        for (const char* const id : {"one", "two", "three"}) numbers.push_back(opened.publish_message(with_id(id)));
        const auto returned = with_id("two");
        TableEncoder tables;
        const amqp_basic_properties_t properties = encode_properties(returned->properties, tables);
        feed(opened.session, script::returned("key", "body", properties) + script::ack(numbers.back(), true));
        CHECK(opened.refused(numbers) == std::vector{numbers[1]});
    }
    SECTION("equal messages, in their order") {
        for (int i = 0; i < 3; ++i) numbers.push_back(opened.publish_message());
        feed(opened.session, script::returned() + script::returned() + script::ack(numbers.back(), true));
        CHECK(opened.refused(numbers) == std::vector{numbers[0], numbers[1]});
    }
    SECTION("a message that the broker has changed") {
        numbers.push_back(opened.publish_message());
        feed(opened.session, script::returned("key", "another body") + script::ack(numbers.back()));
        CHECK(opened.refused(numbers) == numbers);
    }
    SECTION("nothing that may be returned") {
        opened.publish_message("key", "body", false);
        CHECK_THAT(error_of(opened.session, script::returned()), Contains("unrequested messages"));
    }
}

TEST_CASE("a missing confirmation breaks the connection, unless the broker is blocked", "[amqp][confirms]") {
    OpenSession opened;
    const auto number = opened.publish_message();
    auto wait = SingleConfirmWait(opened.session, opened.channel, number, Deadline::after(0s));
    REQUIRE_FALSE(wait.resume());
    SECTION("silent") {
        REQUIRE(wait.resume({}));
        try {
            wait.result();
            FAIL("confirmed");
        } catch (const Timeout& error) {
            CHECK(error.poisons_connection());
        }
    }
    SECTION("blocked") {
        feed(opened.session, script::blocked("low on memory"));
        REQUIRE(wait.resume({}));
        try {
            wait.result();
        } catch (const Timeout& error) {
            CHECK_THAT(error.what(), Contains("blocked: low on memory"));
            CHECK_FALSE(error.poisons_connection());
        }
        CHECK_FALSE(opened.session.failed());
        feed(opened.session, script::method(0, AMQP_CONNECTION_UNBLOCKED_METHOD, amqp_connection_unblocked_t{}));
        CHECK_FALSE(opened.session.blocked());
    }
}
