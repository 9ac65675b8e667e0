// SPDX-License-Identifier: BSD-3-Clause
// The AMQP session and its operations without a socket: what they send, and how they handle input.
#include "client/client_access.hpp"
#include "support/allocated_bytes.hpp"
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/open_session.hpp"

#include <kombu/error.hpp>

#include "amqp/confirm_wait.hpp"
#include "amqp/operations.hpp"
#include "amqp/session.hpp"
#include "amqp/table.hpp"
#include "amqp/table_check.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

using namespace kombu;
using namespace kombu::amqp;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using script::error_of, script::feed, script::OpenSession;

namespace {

std::string frame(char type, std::uint16_t channel, std::string_view payload, char end = '\xce') {
    std::string out{type, static_cast<char>(channel >> 8), static_cast<char>(channel)};
    const auto size = static_cast<std::uint32_t>(payload.size());
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(size >> shift));
    return out.append(payload) + end;
}

/// Gives the reader as much as it takes at a time. Returns the most that it took.
template <class OnFrame>
std::size_t read_all(FrameReader& reader, std::string_view stream, OnFrame on_frame) {
    std::size_t largest = 0;
    while (!stream.empty()) {
        const auto [space, size] = reader.space();
        largest = std::max(largest, size);
        const std::size_t taken = std::min(size, stream.size());
        std::memcpy(space, stream.data(), taken);
        stream.remove_prefix(taken);
        reader.added(taken);
        while (const auto frame = reader.next()) on_frame(*frame);
    }
    return largest;
}

}  // namespace

TEST_CASE("the log-in is parsed whole and byte by byte", "[amqp]") {
    OpenSession whole;
    CHECK(whole.channel->is_open());
    OpenSession pieces{1};
    CHECK(pieces.channel->is_open());
}

TEST_CASE("a password does not stay in the output buffer", "[amqp][secrets]") {
    Session session{"peer"};
    auto login = log_in(session, {.userid = "user", .password = "s3cret-s3cret-s3cret", .virtual_host = "/"});
    login.resume();
    session.output().clear();
    feed(session, script::start());
    login.resume();
    const char* const buffer = session.output().data();
    const std::size_t size = session.output().size();
    REQUIRE(std::string_view(buffer, size).find("s3cret") != std::string_view::npos);
    session.output().clear();
    feed(session, script::tune());
    login.resume();
    CHECK(session.output().data() == buffer);  // the same memory, so that the next check is meaningful
    CHECK(std::string_view(buffer, size).find("s3cret") == std::string_view::npos);
}

TEST_CASE("what is not AMQP is refused at the first byte", "[amqp][hostile]") {
    Session http{"peer"};
    CHECK_THAT(error_of(http, "HTTP/1.1 400 Bad Request\r\n"), Contains("does not speak AMQP"));
    Session ssh{"peer"};
    CHECK_THAT(error_of(ssh, "SSH-2.0"), Contains("does not speak AMQP"));
    Session other{"peer"};
    CHECK_THAT(error_of(other, std::string_view("AMQP\0\1\0\0", 8)), Contains("another version"));
    Session huge{"peer"};
    CHECK_THAT(error_of(huge, std::string_view("\1\0\0\x7f\xff\xff\xff", 7)), Contains("does not speak AMQP"));
}

TEST_CASE("frames that no broker may send are refused", "[amqp][hostile]") {
    OpenSession opened;
    Session& session = opened.session;
    SECTION("larger than agreed") {
        CHECK_THAT(error_of(session, std::string_view("\1\0\0\0\xff\xff\xff", 7)), Contains("larger"));
    }
    SECTION("of an unknown type") { CHECK_THAT(error_of(session, frame(9, 1, "")), Contains("unknown type")); }
    SECTION("without a frame-end") { CHECK_THAT(error_of(session, frame(1, 1, "abcd", 'x')), Contains("frame-end")); }
    SECTION("a body without a frame-end, of which the beginning was taken") {
        const std::string message = script::returned("key", std::string(20'000, 'y'));
        feed(session, std::string_view{message}.substr(0, message.size() - 2));
        CHECK_THAT(error_of(session, "yx"), Contains("frame-end"));
    }
    SECTION("too short for a method") { CHECK_THAT(error_of(session, frame(1, 1, "ab")), Contains("cut short")); }
    SECTION("of a channel that is not open") {
        CHECK_THAT(error_of(session, script::ack(1, false, 9)), Contains("not open"));
    }
    SECTION("a header without its method") {
        CHECK_THAT(error_of(session, frame(2, 1, std::string(14, '\0'))), Contains("without its method"));
    }
    SECTION("a body without its header") {
        CHECK_THAT(error_of(session, frame(3, 1, "x")), Contains("without its header"));
    }
    SECTION("a method in the middle of a message") {
        const std::string message = script::method(1, AMQP_BASIC_RETURN_METHOD, amqp_basic_return_t{});
        CHECK_THAT(error_of(session, message + message), Contains("in the middle"));
    }
    SECTION("a message longer than announced") {
        const std::string message = script::method(1, AMQP_BASIC_RETURN_METHOD, amqp_basic_return_t{});
        std::string header(14, '\0');
        header[11] = 2;
        CHECK_THAT(error_of(session, message + frame(2, 1, header) + frame(3, 1, "abc")),
                   Contains("longer than announced"));
    }
    SECTION("a message of an impossible size") {
        const std::string message = script::method(1, AMQP_BASIC_RETURN_METHOD, amqp_basic_return_t{});
        CHECK_THAT(
            error_of(session,
                     message + frame(2, 1, std::string(4, '\0') + std::string(8, '\x7f') + std::string(2, '\0'))),
            Contains("announced"));
    }
    SECTION("a confirmation of what was never sent") {
        CHECK_THAT(error_of(session, script::ack(1)), Contains("never sent"));
    }
    SECTION("a method with broken fields") {
        CHECK_THAT(error_of(session, frame(1, 1, std::string_view("\0\x14\0\x28\1", 5))), Contains("malformed"));
    }
    SECTION("messages without end") {
        std::string error = "accepted";
        for (int i = 0; i < 10 && error == "accepted"; ++i) error = error_of(session, script::returned());
        CHECK_THAT(error, Contains("unrequested messages"));
    }
    SECTION("answers without end") {
        const std::string answer = script::confirm_ok();
        std::string error = "accepted";
        for (int i = 0; i < 5000 && error == "accepted"; ++i) error = error_of(session, answer);
        CHECK_THAT(error, Contains("unrequested replies"));
    }
}

TEST_CASE("deeply nested tables are refused without recursion", "[amqp][hostile]") {
    // connection.start with nested tables as server properties
    std::string inner;
    for (int depth = 0; depth < 400; ++depth) {
        const auto size = static_cast<std::uint32_t>(inner.size());
        std::string table;
        for (int shift = 24; shift >= 0; shift -= 8) table.push_back(static_cast<char>(size >> shift));
        inner = "\1aF" + table + inner;
    }
    const auto size = static_cast<std::uint32_t>(inner.size());
    std::string payload("\0\x0a\0\x0a\0\x09", 6);
    for (int shift = 24; shift >= 0; shift -= 8) payload.push_back(static_cast<char>(size >> shift));
    payload += inner + std::string("\0\0\0\5PLAIN\0\0\0\5en_US", 18);
    Session session{"peer"};
    auto login = log_in(session, {.userid = "u", .password = "p", .virtual_host = "/"});
    login.resume();
    feed(session, frame(1, 0, payload));
    REQUIRE(login.resume());
    CHECK_THROWS_AS(login.result(), ConnectionError);
}

TEST_CASE("deeply nested headers are not parsed, and their message can still be settled", "[amqp][hostile]") {
    std::string inner;
    for (int depth = 0; depth < 15'000; ++depth) {
        const auto size = static_cast<std::uint32_t>(inner.size());
        std::string array{"A"};
        for (int shift = 24; shift >= 0; shift -= 8) array.push_back(static_cast<char>(size >> shift));
        inner = array + inner;
    }
    inner = "\1a" + inner;
    const auto size = static_cast<std::uint32_t>(inner.size());
    std::string payload("\0\x3c\0\0\0\0\0\0\0\0\0\1\x20\0", 14);
    for (int shift = 24; shift >= 0; shift -= 8) payload.push_back(static_cast<char>(size >> shift));
    OpenSession opened;
    auto fetch = get(opened.session, opened.channel, "q", false);
    REQUIRE_FALSE(fetch.resume());
    feed(opened.session, script::method(1, AMQP_BASIC_GET_OK_METHOD, amqp_basic_get_ok_t{5, 0, {}, {}, 0}) +
                             frame(2, 1, payload + inner) + frame(3, 1, "x"));
    REQUIRE(fetch.resume());
    auto delivery = fetch.result();
    REQUIRE(delivery);
    CHECK(delivery->body == "x");
    CHECK(delivery->info.delivery_tag == 5);
    REQUIRE(delivery->header_error);
    const Message message =
        kombu::detail::ClientAccess::message(std::move(delivery), {kombu::detail::ConnectionRef{}, nullptr}, true, {});
    CHECK_THROWS_AS(message.headers(), DecodeError);
    CHECK_THROWS_AS(message.payload(), DecodeError);
    CHECK(message.raw_body() == "x");
}

TEST_CASE("tables larger than what contains them are refused", "[amqp][hostile]") {
    // A headers table of seven bytes whose only entry claims to be a table of 200.
    const std::string headers("\0\0\0\7\1aF\0\0\0\xc8", 11);
    CHECK(is_malformed_or_too_deep(headers));
    CHECK(is_malformed_or_too_deep(std::string("\0\0\0\5\1aS\0\0", 9)));
    CHECK_FALSE(is_malformed_or_too_deep(std::string("\0\0\0\7\1aF\0\0\0\0", 11)));
    CHECK_FALSE(is_malformed_or_too_deep(std::string(4, '\0')));
}

TEST_CASE("frame sizes smaller than AMQP allows are refused", "[amqp][hostile]") {
    Session session{"peer"};
    auto login = log_in(session, {.userid = "u", .password = "p", .virtual_host = "/"});
    login.resume();
    feed(session, script::start());
    login.resume();
    feed(session, script::tune(10, 100));
    REQUIRE(login.resume());
    CHECK_THROWS_AS(login.result(), ConnectionError);
}

TEST_CASE("a body is split by the frame size agreed on", "[amqp]") {
    std::string out;
    append_body(out, 1, std::string(10'000, 'x'), 4096);
    // Three frames, none larger than 4096 with its overhead.
    CHECK(out.size() == 10'000 + 3 * 8);
    append_body(out, 1, "", 4096);
    CHECK(out.size() == 10'000 + 3 * 8);
}

TEST_CASE("the frames before a body are the same for messages with the same metadata", "[amqp]") {
    const auto encode = [](PublishHead& head, const std::shared_ptr<const MessageMetadata>& metadata,
                           std::size_t body_size) {
        std::string out = "before";
        head.append(out, 7, metadata, body_size, 4096);
        return out;
    };
    const auto make = [](const char* routing_key, const Json& headers) {
        auto metadata = std::make_shared<MessageMetadata>();
        metadata->routing_key = routing_key;
        metadata->properties.headers = headers;
        return metadata;
    };
    const auto first = make("a", {{"x", 1}}), second = make("b", {{"x", 1}}),
               invalid = make("c", {{"x", std::string(5000, 'x')}});
    PublishHead head;
    for (const std::size_t size : {std::size_t{0}, std::size_t{5'000'000'000}, std::size_t{1}}) {
        for (const auto& metadata : {first, second, second, first}) {
            PublishHead fresh;
            CHECK(encode(head, metadata, size) == encode(fresh, metadata, size));
        }
    }
    const auto with_id = [&](const char* id) {
        auto metadata = make("a", {{"x", 1}});
        metadata->properties.message_id = id;
        return metadata;
    };
    const auto elsewhere = make("a", {{"x", 1}}), mandatory = make("a", {{"x", 1}});
    elsewhere->exchange = "elsewhere";
    mandatory->mandatory = true;
    const std::vector<std::shared_ptr<MessageMetadata>> various{first,         second,    with_id("1"),
                                                                with_id("22"), elsewhere, mandatory};
    for (const auto& before : various) {
        for (const auto& metadata : various) {
            PublishHead fresh;
            encode(head, before, 1);
            CHECK(encode(head, metadata, 2) == encode(fresh, metadata, 2));
        }
    }
    CHECK(encode(head, first, 5'000'000'000).find(std::string{"\0\0\0\x01\x2a\x05\xf2\x00", 8}) != std::string::npos);
    CHECK_THROWS_AS(encode(head, invalid, 1), EncodeError);
    PublishHead fresh;
    CHECK(encode(head, first, 1) == encode(fresh, first, 1));
}

TEST_CASE("headers too large for a frame are refused and leave nothing behind", "[amqp]") {
    OpenSession opened;
    MessageMetadata head;
    head.properties.headers["large"] = std::string(200'000, 'x');
    const OutgoingMessage message{.metadata = std::make_shared<const MessageMetadata>(head)};
    CHECK_THROWS_AS(publish(opened.session, *opened.channel, message), EncodeError);
    CHECK(opened.session.output().empty());
}

TEST_CASE("header values that AMQP cannot carry are refused", "[amqp]") {
    const auto encode = [](const Json& headers) {
        TableEncoder tables;
        (void)tables.encode(headers, "headers");
    };
    Json deep = 1;
    for (int i = 0; i < 40; ++i) deep = Json{{"x", deep}};
    CHECK_THROWS_AS(encode(deep), EncodeError);
    CHECK_THROWS_AS(encode(Json{{std::string(256, 'k'), 1}}), EncodeError);
    CHECK_THROWS_AS(encode(Json{{"n", 18'446'744'073'709'551'615u}}), EncodeError);
    CHECK_NOTHROW(encode(Json{{"n", 9'223'372'036'854'775'807u}}));
}

TEST_CASE("a channel.close that the broker repeats is answered once", "[amqp]") {
    OpenSession opened;
    amqp_channel_close_t close{406, bytes("PRECONDITION_FAILED - delivery acknowledgement timed out"), 0, 0};
    const std::string frame = script::method(1, AMQP_CHANNEL_CLOSE_METHOD, close);
    feed(opened.session, frame + frame);
    const std::string answer = script::method(1, AMQP_CHANNEL_CLOSE_OK_METHOD, amqp_channel_close_ok_t{});
    CHECK(opened.session.output() == answer);
    const auto next = opened.session.new_channel();
    feed(opened.session, frame);
    CHECK(opened.session.output() == answer);
    CHECK_FALSE(next->close_error);
    CHECK_FALSE(opened.session.failed());
    CHECK_THROWS_AS(opened.channel->check(), ChannelError);
    CHECK_THROWS_AS(feed(opened.session, script::method(3, AMQP_CHANNEL_CLOSE_METHOD, close)), ConnectionError);
}

TEST_CASE("when the broker closes a channel, its operation fails and close-ok is sent", "[amqp]") {
    OpenSession opened;
    const auto number = opened.publish_message();
    auto wait = SingleConfirmWait(opened.session, opened.channel, number, Deadline::never());
    wait.resume();
    amqp_channel_close_t close{404, bytes("NOT_FOUND - no exchange"), 60, 40};
    feed(opened.session, script::method(1, AMQP_CHANNEL_CLOSE_METHOD, close));
    REQUIRE(wait.resume());
    CHECK_THROWS_AS(wait.result(), ChannelError);
    CHECK(opened.session.output() == script::method(1, AMQP_CHANNEL_CLOSE_OK_METHOD, amqp_channel_close_ok_t{}));
    CHECK_FALSE(opened.session.failed());
    CHECK(opened.session.new_channel()->number() == 2);  // the broker may repeat its channel.close
}

TEST_CASE("when the broker closes the connection, the error has its text and close-ok is sent", "[amqp]") {
    OpenSession opened;
    feed(opened.session, script::close_connection(320, "CONNECTION_FORCED - shutdown"));
    CHECK(opened.session.failed());
    CHECK(opened.session.output() == script::method(0, AMQP_CONNECTION_CLOSE_OK_METHOD, amqp_connection_close_ok_t{}));
    try {
        opened.session.check();
        FAIL("the session is well");
    } catch (const ConnectionError& error) {
        CHECK(error.code() == 320);
        CHECK(error.is_retryable());
        CHECK_THAT(error.what(), Contains("CONNECTION_FORCED"));
    }
}

TEST_CASE("a close of the connection is retryable by its code, and a limit by its text", "[amqp][errors]") {
    const auto is_retryable = [](std::uint16_t code, const char* text) {
        OpenSession opened;
        feed(opened.session, script::close_connection(code, text));
        try {
            opened.session.check();
        } catch (const ConnectionError& error) {
            CHECK(error.code() == code);
            return error.is_retryable();
        }
        return false;
    };
    CHECK(is_retryable(541, "INTERNAL_ERROR"));
    CHECK(is_retryable(506, "RESOURCE_ERROR"));
    CHECK(is_retryable(530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (3) is reached"));
    CHECK_FALSE(is_retryable(530, "NOT_ALLOWED - vhost v not found"));
    CHECK_FALSE(is_retryable(530, "NOT_ALLOWED - vhost rate-limiter not found"));
    CHECK_FALSE(is_retryable(530, "NOT_ALLOWED - access to vhost 'limit (1)' refused for user 'unlimited'"));
    CHECK_FALSE(is_retryable(530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u'"));
    CHECK_FALSE(is_retryable(403, "ACCESS_REFUSED"));
}

TEST_CASE("frames for a channel that is being closed are ignored", "[amqp]") {
    OpenSession opened;
    close_channel_nowait(opened.session, *opened.channel);
    feed(opened.session, script::returned() + script::ack(7) +
                             script::method(1, AMQP_CHANNEL_CLOSE_OK_METHOD, amqp_channel_close_ok_t{}));
    CHECK(opened.channel->phase == ChannelState::Phase::closed);
}

TEST_CASE("a message for a cancelled consumer is requeued", "[amqp]") {
    OpenSession opened;
    amqp_basic_deliver_t deliver{bytes("gone"), 5, 0, bytes("ex"), bytes("key")};
    feed(opened.session, script::method(1, AMQP_BASIC_DELIVER_METHOD, deliver) + script::content(1, "late"));
    CHECK(opened.channel->deliveries.empty());
    CHECK(opened.session.output() == script::method(1, AMQP_BASIC_REJECT_METHOD, amqp_basic_reject_t{5, 1}));
}

TEST_CASE("X1 channel numbers are bounded by what the broker allows and reused", "[amqp]") {
    Session session{"peer"};
    session.apply_tune(2, 4096, 0s);
    auto one = session.new_channel(), two = session.new_channel();
    CHECK(two->number() == 2);
    CHECK_THROWS_AS(session.new_channel(), ChannelLimitExceeded);
    one->phase = ChannelState::Phase::closed;
    CHECK(session.new_channel()->number() == 1);
}

TEST_CASE("an operation that is dropped in the middle leaves nothing dangling", "[amqp]") {
    OpenSession opened;
    {
        auto waiting = wait_for_message(opened.session, opened.channel, kombu::Queue{"q"}, false, Deadline::never());
        CHECK_FALSE(waiting.resume());
    }
    feed(opened.session, script::method(1, AMQP_BASIC_GET_EMPTY_METHOD, amqp_basic_get_empty_t{}));
    CHECK(opened.channel->replies.size() == 1);
}

TEST_CASE("random bytes cause a typed error or none, and nothing else", "[amqp][hostile]") {
    std::uint32_t random = 12345;
    const auto next = [&] { return random = random * 1664525u + 1013904223u, static_cast<char>(random >> 24); };
    const std::string valid =
        script::returned() + script::blocked("x") + script::channel_open_ok() + script::confirm_ok();
    for (int round = 0; round < 3000; ++round) {
        Session session{"peer"};
        session.apply_tune(2047, 131072, 0s);
        auto channel = session.new_channel();
        channel->phase = ChannelState::Phase::open;
        std::string data = valid;
        for (int flips = 0; flips < 3; ++flips) data[static_cast<unsigned char>(next()) % data.size()] = next();
        try {
            feed(session, data);
        } catch (const ConnectionError&) {
        }
    }
    SUCCEED();
}

TEST_CASE("a body is the same in whatever pieces its frames arrive", "[amqp]") {
    std::string body;
    for (int i = 0; body.size() < 300'000; ++i) body += std::to_string(i) + ' ';
    const amqp_basic_deliver_t deliver{bytes("c"), 1, 0, bytes("ex"), bytes("key")};
    for (const std::size_t piece : {1, 7, 1000, 16384, 131072, 400'000}) {
        INFO("pieces of " << piece);
        OpenSession opened;
        opened.channel->consumers.insert("c");
        const std::size_t size = piece < 1000 ? 9000 : body.size();
        const std::string expected = body.substr(0, size);
        const std::string empty = script::content(1, "");
        feed(opened.session,
             script::method(1, AMQP_BASIC_DELIVER_METHOD, deliver) + script::content(1, expected) +
                 script::method(1, AMQP_BASIC_DELIVER_METHOD, deliver) + empty +
                 script::method(1, AMQP_BASIC_DELIVER_METHOD, deliver) + script::content(1, "z"),
             piece);
        REQUIRE(opened.channel->deliveries.size() == 3);
        CHECK(opened.channel->deliveries[0].delivery->body == expected);
        CHECK(opened.channel->deliveries[1].delivery->body.empty());
        CHECK(opened.channel->deliveries[2].delivery->body == "z");
    }
}

TEST_CASE("a body takes memory for what has arrived of it, not for what was announced", "[amqp][hostile]") {
    OpenSession opened;
    opened.channel->consumers.insert("c");
    const amqp_basic_deliver_t deliver{bytes("c"), 1, 0, bytes("ex"), bytes("key")};
    const std::string message =
        script::method(1, AMQP_BASIC_DELIVER_METHOD, deliver) + script::content(1, std::string(60'000'000, 'x'));
    const std::size_t before = allocated_bytes();
    feed(opened.session, std::string_view{message}.substr(0, 1'000'000));
    CHECK(allocated_bytes() - before < 8'000'000);
}

TEST_CASE("large body frames need no large buffer", "[amqp]") {
    const std::string stream = script::content(1, std::string(1'000'000, 'x'));
    FrameReader reader;
    reader.set_max_frame_size(131072);
    std::size_t bytes_of_bodies = 0;
    const std::size_t largest = read_all(reader, stream, [&](const Frame& read) {
        if (read.type == AMQP_FRAME_BODY) bytes_of_bodies += read.payload.size();
    });
    CHECK(bytes_of_bodies == 1'000'000);
    CHECK(largest <= 65'536);
}

TEST_CASE("reads that fill the buffer make it larger, up to 64 KiB, and lose no frame", "[amqp]") {
    constexpr std::size_t frames = 500;
    std::string stream;
    for (std::size_t i = 0; i < frames; ++i) stream += frame(1, 1, std::to_string(i) + std::string(i, '.'));
    FrameReader reader;
    std::size_t count = 0;
    const std::size_t largest = read_all(reader, stream, [&](const Frame& read) {
        REQUIRE(read.payload == std::to_string(count) + std::string(count, '.'));
        ++count;
    });
    CHECK(count == frames);
    CHECK(largest > 60'000);
    CHECK(largest <= 65'536);
}
