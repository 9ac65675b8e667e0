// SPDX-License-Identifier: BSD-3-Clause
#include "messages/json_scanner.hpp"

#include <kombu/json.hpp>

#include "messages/json_depth.hpp"
#include "support/catch.hpp"

#include <nlohmann/json.hpp>

#include <random>
#include <string>
#include <string_view>

using namespace kombu;
using namespace kombu::json_text;

namespace {

const std::string envelope =
    R"({"body": "eyJhIjogMX0=", "content-encoding": "utf-8", "headers": {"x": [1, -2.5e3, true, null, "\u00e9\n"]}, )"
    R"("properties": {"priority": 0, "delivery_info": {"exchange": "", "routing_key": "q\"\\"}}, "empty": [{}, []]})";

std::string nested(std::size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

}  // namespace

TEST_CASE("text is well-formed when it follows JSON's grammar", "[json]") {
    for (const std::string_view good :
         {"null", " true ", "false", "0", "-0", "-12.5E-3", "1e9", "\"\"", "\"\\u00fc\\ud83d\\ude00\\\\\\/\"", "[]",
          "{ }", "[1, [2, {\"a\": []}]]", "{\"a\":1,\"a\":2}", "\r\n\t[ ]", "\"\x7f\"", "\"\xc3\xa9\""}) {
        CAPTURE(good);
        CHECK(is_well_formed(good));
        CHECK(Json::accept(good));
    }
    for (const std::string_view bad : {"",
                                       " ",
                                       "nul",
                                       "nulls",
                                       "True",
                                       "01",
                                       "+1",
                                       "-",
                                       ".5",
                                       "1.",
                                       "1e",
                                       "1e+",
                                       "0x1",
                                       "NaN",
                                       "Infinity",
                                       "\"",
                                       "\"\\\"",
                                       "\"\\x\"",
                                       "\"\\u12g4\"",
                                       "\"\\u123",
                                       "\"\n\"",
                                       "\"\xff\"",
                                       "\"\xed\xa0\x80\"",
                                       "'a'",
                                       "[",
                                       "[1",
                                       "[1,",
                                       "[1,]",
                                       "[,]",
                                       "[1 2]",
                                       "{",
                                       "{\"a\"",
                                       "{\"a\":",
                                       "{\"a\":1",
                                       "{\"a\":1,}",
                                       "{a:1}",
                                       "{\"a\" 1}",
                                       "{1:2}",
                                       "1 2",
                                       "[]]",
                                       "]",
                                       "}",
                                       "\xef\xbb\xbf{}"}) {
        CAPTURE(bad);
        CHECK_FALSE(is_well_formed(bad));
    }
    CHECK_FALSE(is_well_formed(std::string_view{"\"a\0b\"", 5}));
    CHECK(is_well_formed(nested(max_depth)));
    CHECK_FALSE(is_well_formed(nested(max_depth + 1)));
    CHECK_FALSE(is_well_formed(std::string(1'000'000, '[')));
}

TEST_CASE("text with any change is well-formed exactly when nlohmann_json reads it", "[json]") {
    // Digits and hexadecimal digits change only into others: nlohmann_json refuses numbers that are too large, and
    // half of a surrogate pair.
    constexpr std::string_view characters{"\"\\{}[]:,.-+eu ntrf09a\n\x01\x7f\xc3\xa9", 26};
    std::mt19937 random{1};  // NOLINT(cert-msc51-cpp): the same each time
    std::size_t well_formed = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::string text = envelope;
        for (auto changes = random() % 3; changes <= 2; ++changes) {
            const std::size_t at = random() % text.size();
            const char c = characters[random() % characters.size()];
            switch (random() % 3) {
                case 0: text.erase(at, 1); break;
                case 1: text.insert(at, 1, c); break;
                default: text[at] = c;
            }
        }
        CAPTURE(text);
        const bool is_read = Json::accept(text);
        REQUIRE(is_well_formed(text) == is_read);
        well_formed += is_read;
    }
    CHECK(well_formed > 1000);
    for (std::size_t size = 0; size < envelope.size(); ++size) REQUIRE_FALSE(is_well_formed(envelope.substr(0, size)));
    CHECK(is_well_formed(envelope));
}

TEST_CASE("members and elements are found in the text", "[json]") {
    const auto value = [](std::string_view text, std::string_view name) {
        const auto found = member(text, 0, name);
        return found ? std::string{found->of(text)} : "none";
    };
    CHECK(value(R"( { "a" : 1 , "b":[1,{"a":2}],"c":"}" } )", "a") == "1");
    CHECK(value(R"({"a":1,"b":[1,{"a":2}],"c":"}"})", "b") == R"([1,{"a":2}])");
    CHECK(value(R"({"a":1,"b":[1,{"a":2}],"c":"}"})", "c") == R"("}")");
    CHECK(value(R"({"a":1,"a":2})", "a") == "2");
    CHECK(value(R"({"\u0061":3})", "a") == "3");
    CHECK(value(R"({"a\\":"\\","b":4})", "b") == "4");
    CHECK(value(R"({})", "a") == "none");
    CHECK(value(R"(["a", 1])", "a") == "none");
    const std::string_view array = R"([ "a", {"b": [1, 2]} , 3])";
    CHECK(element(array, 0, 0)->of(array) == R"("a")");
    CHECK(element(array, 0, 1)->of(array) == R"({"b": [1, 2]})");
    CHECK(element(array, 0, 2)->of(array) == "3");
    CHECK_FALSE(element(array, 0, 3));
    CHECK_FALSE(element("{}", 0, 0));
}

TEST_CASE("a text value is read without its escapes", "[json]") {
    CHECK(to_text(R"("plain")") == "plain");
    CHECK(to_text(R"("a\"\\\u00e9\ud83d\ude00")") == "a\"\\\u00e9\U0001F600");
    CHECK(to_text(R"("")") == "");
    CHECK_FALSE(to_text("1"));
    CHECK_FALSE(to_text("null"));
    CHECK_FALSE(to_text(R"("\ud83d")"));
}
