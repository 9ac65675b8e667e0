// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include "virtual/routing.hpp"

#include <string>

using namespace kombu;
using namespace kombu::routing;

TEST_CASE("X20 topic patterns match as AMQP says: * one word, # any number of words", "[routing]") {
    const auto matches = [](const char* pattern, const char* key) { return topic_matches(pattern, key); };
    CHECK(matches("stock.usd", "stock.usd"));
    CHECK_FALSE(matches("stock.usd", "stock.eur"));
    CHECK(matches("stock.*", "stock.usd"));
    CHECK_FALSE(matches("stock.*", "stock"));
    CHECK_FALSE(matches("stock.*", "stock.usd.nyse"));
    CHECK(matches("stock.#", "stock"));
    CHECK(matches("stock.#", "stock.usd.nyse"));
    CHECK(matches("#", ""));
    CHECK(matches("#", "a.b.c"));
    CHECK(matches("#.nyse", "nyse"));
    CHECK(matches("#.nyse", "stock.usd.nyse"));
    CHECK_FALSE(matches("#.nyse", "stock.usd"));
    CHECK(matches("*.#.c", "a.c"));
    CHECK(matches("a.#.b.#.c", "a.x.b.b.y.c"));
    CHECK_FALSE(matches("a.#.b.#.c", "a.x.y.c"));
    CHECK(matches("#.#", "a"));
    CHECK(matches("", ""));
    CHECK_FALSE(matches("", "a"));
    CHECK_FALSE(matches("*", ""));
    CHECK(matches("a..b", "a..b"));
    CHECK(matches("a.*.b", "a..b"));
    CHECK_FALSE(matches("a", "A"));
}

TEST_CASE("matching a hostile topic pattern ends", "[routing]") {
    std::string pattern, key;
    for (int i = 0; i < 120; ++i) pattern += "#.a.";
    for (int i = 0; i < 127; ++i) key += "a.";
    CHECK_FALSE(topic_matches(pattern + "b", key + "c"));
}

TEST_CASE("Q13 headers match all or any of the arguments", "[routing]") {
    const Json headers = {{"a", 1}, {"b", "x"}, {"x-c", true}};
    CHECK(headers_match({{"a", 1}, {"b", "x"}}, headers));
    CHECK_FALSE(headers_match({{"a", 1}, {"b", "y"}}, headers));
    CHECK(headers_match({{"x-match", "any"}, {"a", 1}, {"b", "y"}}, headers));
    CHECK_FALSE(headers_match({{"x-match", "any"}, {"a", 2}}, headers));
    CHECK(headers_match({{"a", nullptr}}, headers));
    CHECK_FALSE(headers_match({{"d", nullptr}}, headers));
    CHECK(headers_match(Json::object(), headers));
    CHECK_FALSE(headers_match({{"x-match", "any"}}, headers));
    CHECK(headers_match({{"x-c", false}, {"a", 1}}, headers));  // x- arguments are ignored
    CHECK_FALSE(headers_match({{"x-match", "all-with-x"}, {"x-c", false}, {"a", 1}}, headers));
    CHECK(headers_match({{"x-match", "any-with-x"}, {"x-c", true}}, headers));
}

TEST_CASE("X19 X8 a message goes to each matching queue once", "[routing]") {
    Bindings topic{"topic"};
    topic.bind({"q", "a.*"});
    topic.bind({"q", "#"});
    topic.bind({"r", "a.b"});
    topic.bind({"r", "a.b"});
    CHECK(topic.route("a.b", {}) == std::vector<std::string>{"q", "r"});
    topic.unbind({"r", "a.b"});
    CHECK(topic.route("a.b", {}) == std::vector<std::string>{"q"});
    topic.unbind({"r", "unknown"});
    topic.remove_destination("q");
    CHECK(topic.empty());

    Bindings fanout{"fanout"};
    fanout.bind({"q", "x"});
    CHECK(fanout.route("y", {}) == std::vector<std::string>{"q"});

    Bindings direct{"direct"};
    direct.bind({"q", "x"});
    CHECK(direct.route("y", {}).empty());
    CHECK(direct.route("x", {}) == std::vector<std::string>{"q"});
}
