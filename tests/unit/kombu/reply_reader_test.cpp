// SPDX-License-Identifier: BSD-3-Clause
#include "support/allocated_bytes.hpp"
#include "support/catch.hpp"

#include <kombu/error.hpp>

#include "redis/command.hpp"
#include "redis/error.hpp"
#include "redis/reply_reader.hpp"

#include <algorithm>
#include <cstring>

using namespace kombu;
using namespace kombu::redis;
using Catch::Matchers::Contains;

namespace {

/// Returns the replies in `text`, which arrives in pieces of the given size.
std::vector<Reply> read(std::string_view text, std::size_t piece) {
    ReplyReader reader;
    std::vector<Reply> replies;
    while (!text.empty()) {
        const auto [data, room] = reader.space();
        const std::size_t count = std::min({piece, room, text.size()});
        std::memcpy(data, text.data(), count);
        text.remove_prefix(count);
        reader.added(count);
        while (kombu::redis::Reply* const reply = reader.next()) replies.push_back(std::move(*reply));
    }
    return replies;
}

std::string to_text(const Reply& reply) {
    switch (reply.type) {
        case Reply::Type::nil: return "nil";
        case Reply::Type::status: return "+" + reply.text;
        case Reply::Type::error: return "-" + reply.text;
        case Reply::Type::integer: return std::to_string(reply.integer);
        case Reply::Type::text: return "'" + reply.text + "'";
        default: break;
    }
    std::string text = "[";
    for (const Reply& element : reply.elements) text += to_text(element) + ",";
    return text + "]";
}

}  // namespace

TEST_CASE("replies are read, in pieces of any size", "[redis][reply]") {
    const std::string large(100'000, 'x');
    const std::string text =
        "+OK\r\n-ERR no\r\n:-42\r\n$5\r\nhe\r\no\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*1\r\n:1\r\n$1\r\na\r\n"
        "*3\r\n*2\r\n+a\r\n*0\r\n$-1\r\n*1\r\n-E x\r\n:9223372036854775807\r\n$100000\r\n" +
        large + "\r\n" + "*7\r\n:1\r\n:2\r\n:3\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:4\r\n:5\r\n:6\r\n:7\r\n";
    const std::vector<std::string> wanted{"+OK",
                                          "-ERR no",
                                          "-42",
                                          "'he\r\no'",
                                          "''",
                                          "nil",
                                          "nil",
                                          "[]",
                                          "[[1,],'a',]",
                                          "[[+a,[],],nil,[-E x,],]",
                                          "9223372036854775807",
                                          "'" + large + "'",
                                          "[1,2,3,[[[[[[4,],],],],],],5,6,7,]"};
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, text.size()}) {
        const auto replies = read(text, piece);
        REQUIRE(replies.size() == wanted.size());
        for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(to_text(replies[i]) == wanted[i]);
    }
}

TEST_CASE("a reply that is cut at any byte is incomplete, and complete with the rest", "[redis][reply]") {
    const std::string text = "*4\r\n$3\r\nabc\r\n:12\r\n*1\r\n+OK\r\n$-1\r\n";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        ReplyReader reader;
        std::vector<std::string> replies;
        const auto add = [&](const std::string& part) {
            std::memcpy(reader.space().first, part.data(), part.size());
            reader.added(part.size());
            while (auto reply = reader.next()) replies.push_back(to_text(*reply));
        };
        add(text.substr(0, cut));
        CHECK(replies.empty() == (cut < text.size()));
        add(text.substr(cut));
        CHECK(replies == std::vector<std::string>{"['abc',12,[+OK,],nil,]"});
    }
}

TEST_CASE("invalid replies are refused as soon as they are announced", "[redis][reply][errors]") {
    const std::vector<std::string> hostile{
        "hello\r\n",
        "$-2\r\n",
        "$x\r\n",
        "$ 5\r\n",
        "$5\r\nhello!!",
        "*1\r\n$5\r\nhello\r\r",
        "$268435457\r\n",
        "$4294967296\r\n",
        "$99999999999999999999\r\n",
        "*2000000000\r\n",
        "*4294967296\r\n",
        "*1048577\r\n",
        "*1\r\n*1048576\r\n",
        "*-2\r\n",
        ":1x\r\n",
        ":\r\n",
        ":9223372036854775808\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "+OK\n",
        "+OK\n\r\n+OK\r\n",
        std::string("\0\r\n", 3),
        std::string(ReplyReader::max_line + 1, '+') + "\r\n",
        std::string(ReplyReader::max_line + 1, '$'),
        // RESP 3
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(12345678901234567890\r\n",
        "!3\r\nE x\r\n",
        "=5\r\ntxt:x\r\n",
        "~1\r\n:1\r\n",
        "%1\r\n+k\r\n:1\r\n",
        ">1\r\n:1\r\n",
        "|1\r\n+a\r\n+b\r\n",
        "*1\r\n_\r\n",
    };
    for (const std::string& text : hostile) {
        INFO(text.substr(0, 40));
        CHECK_THROWS_AS(read(text, 1), ConnectionError);
        CHECK_THROWS_AS(read(text, text.size()), ConnectionError);
    }
}

TEST_CASE("memory grows with what has arrived, not with what is announced", "[redis][reply]") {
    const std::string announced = "*1000000\r\n*40000\r\n$200000000\r\n";
    const std::size_t before = allocated_bytes();
    ReplyReader reader;
    std::memcpy(reader.space().first, announced.data(), announced.size());
    reader.added(announced.size());
    CHECK_FALSE(reader.next());
    CHECK(allocated_bytes() - before < 100'000);
}

TEST_CASE("commands are written as arrays of bulk strings", "[redis][reply]") {
    std::string out;
    append_command(out, {"SET", "k\r\n", ""});
    CHECK(out == "*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
}

TEST_CASE("errors of Redis have their own types, and say whether they are retryable", "[redis][errors]") {
    const auto raise = [](const std::string& text) {
        throw_if_error(Reply{.type = Reply::Type::error, .text = text}, "host:6379");
    };
    CHECK_THROWS_AS(raise("NOAUTH Authentication required."), AuthenticationError);
    CHECK_THROWS_AS(raise("WRONGPASS invalid username-password pair or user is disabled."), AuthenticationError);
    CHECK_THROWS_AS(raise("ERR AUTH <password> called without any password configured for the default user."),
                    AuthenticationError);
    CHECK_THROWS_AS(raise("LOADING Redis is loading the dataset in memory"), LoadingError);
    CHECK_THROWS_AS(raise("READONLY You can't write against a read only replica."), ReadOnlyError);
    CHECK_THROWS_AS(raise("MASTERDOWN Link with MASTER is down"), ReadOnlyError);
    CHECK_THROWS_AS(raise("MOVED 3999 127.0.0.1:6381"), MovedError);
    CHECK_THROWS_AS(raise("CROSSSLOT Keys in request don't hash to the same slot"), MovedError);
    CHECK_THROWS_AS(raise("OOM command not allowed when used memory > 'maxmemory'."), OutOfMemoryError);
    CHECK_THROWS_AS(raise("BUSY Redis is busy running a script."), BusyError);
    CHECK_THROWS_AS(raise("WRONGTYPE Operation against a key holding the wrong kind of value"), ChannelError);
    // How Redis 6 reports the error of a command within a script.
    CHECK_THROWS_AS(
        raise("ERR Error running script (call to f_a1): @user_script:5: @user_script: 5: -READONLY You can't "
              "write against a read only replica."),
        ReadOnlyError);
    CHECK_THROWS_AS(raise("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist"),
                    BusyError);
    CHECK_THROWS_AS(raise("NOREPLICAS Not enough good replicas to write."), BusyError);
    const auto facts = [&](const std::string& text) -> std::pair<bool, bool> {
        try {
            raise(text);
        } catch (const Error& error) {
            CHECK_THAT(error.what(), Contains("host:6379") && Contains(text));
            return {error.poisons_connection(), error.is_retryable()};
        }
        return {};
    };
    CHECK(facts("NOAUTH x") == std::pair{true, false});
    CHECK(facts("LOADING x") == std::pair{true, true});
    CHECK(facts("READONLY x") == std::pair{true, true});
    CHECK(facts("MOVED x") == std::pair{true, false});
    CHECK(facts("OOM x") == std::pair{false, true});
    CHECK(facts("BUSY x") == std::pair{false, true});
    CHECK(facts("NOPERM x") == std::pair{false, false});
    CHECK(facts("ERR x") == std::pair{false, false});
    CHECK_NOTHROW(throw_if_error(Reply{.type = Reply::Type::status, .text = "OOM"}, ""));
}
