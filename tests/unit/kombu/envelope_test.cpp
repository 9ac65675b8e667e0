// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/error.hpp>

#include "support/base64.hpp"
#include "support/uuid.hpp"
#include "virtual/envelope.hpp"
#include "virtual/topic_pattern.hpp"

#include <set>

using namespace kombu;
using Catch::Matchers::Contains;

namespace {

std::string rendered(const Properties& properties, std::string_view body,
                     envelope::BodyEncoding encoding = envelope::BodyEncoding::base64) {
    const envelope::EnvelopeTemplate frame{properties, "ex", "rk", encoding};
    std::string memory, out;
    const std::string_view prepared = frame.prepare(body, memory);
    frame.append(out, prepared, "TAG");
    CHECK(out.size() == frame.size(prepared, 3));
    return out;
}

}  // namespace

TEST_CASE("an envelope is byte for byte what Kombu writes", "[envelope]") {
    Properties plain;
    plain.content_type = "application/json";
    plain.content_encoding = "utf-8";
    plain.delivery_mode = 2;
    plain.priority = 5;
    // Written by Kombu 5.2.4, except the tag.
    CHECK(rendered(plain, R"({"a": 1, "u": "\u00fc\u007f/\\\"\n"})") ==
          R"({"body": "eyJhIjogMSwgInUiOiAiXHUwMGZjXHUwMDdmL1xcXCJcbiJ9", "content-encoding": "utf-8", )"
          R"("content-type": "application/json", "headers": {}, "properties": {"delivery_mode": 2, "delivery_info": )"
          R"({"exchange": "ex", "routing_key": "rk"}, "priority": 5, "body_encoding": "base64",)"
          R"( "delivery_tag": "TAG"}})");
    Properties all = plain;
    all.headers = {{"e", Json::object()}, {"f", 1e20},
                   {"g", 1e-7},           {"h", {1, 2.5, nullptr, true, {{"x", "ü😀"}}}},
                   {"i", 10.0},           {"l", Json::array()}};
    all.correlation_id = "c";
    all.reply_to = "r";
    all.message_id = "m";
    all.timestamp = 17;
    all.type = "t";
    all.user_id = "u";
    all.app_id = "a";
    all.delivery_mode = 1;
    all.expiration = "1500";
    CHECK(rendered(all, "x") ==
          R"({"body": "eA==", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"e": {}, )"
          R"("f": 1e+20, "g": 1e-07, "h": [1, 2.5, null, true, {"x": "\u00fc\ud83d\ude00"}], "i": 10.0, "l": []}, )"
          R"("properties": {"correlation_id": "c", "reply_to": "r", "message_id": "m", "timestamp": 17, "type": "t", )"
          R"("user_id": "u", "app_id": "a", "delivery_mode": 1, "expiration": "1500", "delivery_info": {"exchange": )"
          R"("ex", "routing_key": "rk"}, "priority": 5, "body_encoding": "base64", "delivery_tag": "TAG"}})");
}

TEST_CASE("a body may be stored in its envelope as plain text", "[envelope]") {
    Properties properties;
    const std::string text = rendered(properties, "a \"text\" ü", envelope::BodyEncoding::none);
    CHECK_THAT(text, Contains(R"({"body": "a \"text\" \u00fc", )") && Contains(R"("body_encoding": null)"));
    std::string why;
    CHECK(envelope::parse(text, why)->delivery->body == "a \"text\" ü");
    CHECK_THROWS_AS(rendered(properties, "\xff", envelope::BodyEncoding::none), EncodeError);
}

TEST_CASE("X4 a parsed envelope equals the one that was written", "[envelope]") {
    Properties properties;
    properties.content_type = "application/data";
    properties.headers = {{"k", {1, 2}}};
    properties.delivery_mode = 1;
    properties.priority = 9;
    properties.reply_to = "back";
    properties.timestamp = 5'000'000'000;
    std::string body;
    for (int i = 0; i < 256; ++i) body += static_cast<char>(i);
    std::string why;
    const auto opened = envelope::parse(rendered(properties, body), why);
    REQUIRE(opened);
    CHECK(opened->delivery_tag == "TAG");
    CHECK(opened->delivery->body == body);
    opened->delivery->properties.headers = opened->delivery->encoded_headers.decode();
    CHECK(opened->delivery->properties == properties);
    CHECK(opened->delivery->info.exchange == "ex");
    CHECK(opened->delivery->info.routing_key == "rk");
    CHECK_FALSE(opened->delivery->info.redelivered);
}

TEST_CASE("a number in an envelope that does not fit counts as missing", "[envelope][errors]") {
    const auto properties_with = [](const std::string& number) {
        std::string why;
        const auto parsed = envelope::parse(
            R"({"body":"","properties":{"delivery_tag":"t","delivery_info":{"exchange":"","routing_key":"q"},)"
            R"("priority":)" +
                number + R"(,"timestamp":)" + number + "}}",
            why);
        REQUIRE(parsed);
        return parsed->delivery->properties;
    };
    for (const std::string number : {"1e300", "-1e300", "18446744073709551616"}) {
        CHECK_FALSE(properties_with(number).priority);
        CHECK_FALSE(properties_with(number).timestamp);
    }
    CHECK_FALSE(properties_with("2147483648").priority);
    CHECK(properties_with("2147483648").timestamp == 2147483648u);
    CHECK(properties_with("2147483647").priority == 2147483647);
    CHECK(properties_with("-3").priority == -3);
    CHECK_FALSE(properties_with("-3").timestamp);
    CHECK(properties_with("7.9").priority == 7);
    CHECK(properties_with("18446744073709551615").timestamp == 18446744073709551615u);
}

TEST_CASE("an envelope that cannot be delivered is refused with what it lacks", "[envelope][errors]") {
    const std::string whole =
        R"({"body":"eA==","properties":{"delivery_tag":"t","delivery_info":{"exchange":"","routing_key":"q"}}})";
    const auto parse_error = [](const std::string& text) {
        std::string why;
        return envelope::parse(text, why) ? std::string{"opened"} : why;
    };
    CHECK(parse_error(whole) == "opened");
    CHECK(parse_error("not json") == "it is not a JSON object");
    CHECK(parse_error("[1]") == "it is not a JSON object");
    CHECK(parse_error("\xff") == "it is not a JSON object");
    CHECK(parse_error(std::string(100'000, '[')) == "it is not a JSON object");
    const auto without = [&](const std::string& path) {
        Json copy = Json::parse(whole);
        const Json::json_pointer pointer{path};
        copy.at(pointer.parent_pointer()).erase(pointer.back());
        return parse_error(copy.dump());
    };
    CHECK(without("/body") == "it has no body");
    CHECK(without("/properties") == "it has no properties");
    CHECK(without("/properties/delivery_tag") == "it has no delivery_tag");
    CHECK(without("/properties/delivery_info") == "it has no delivery_info");
    CHECK(without("/properties/delivery_info/exchange") == "it has no exchange");
    CHECK(without("/properties/delivery_info/routing_key") == "it has no routing_key");
    // A tag may be a number, and a body may be stored without an encoding.
    std::string why;
    Json other = Json::parse(whole);
    other["properties"]["delivery_tag"] = 7;
    CHECK(envelope::parse(other.dump(), why)->delivery_tag == "7");
    CHECK(envelope::parse(other.dump(), why)->delivery->body == "eA==");
    other["properties"]["body_encoding"] = "base64";
    CHECK(envelope::parse(other.dump(), why)->delivery->body == "x");
    // Some writers of JSON escape slashes.
    other["body"] = "BASE64";
    std::string escaped = other.dump();
    escaped.replace(escaped.find("BASE64"), 6, R"(\/w==)");
    CHECK(envelope::parse(escaped, why)->delivery->body == "\xff");
    other["body"] = "a";
    const auto broken = envelope::parse(other.dump(), why);
    REQUIRE(broken);
    CHECK_THAT(broken->delivery->header_error.value_or(""), Contains("base64"));
}

TEST_CASE("an envelope with a part that cannot be read is delivered, so that it can be settled", "[envelope][errors]") {
    const auto header_error = [](const std::string& headers, const std::string& body) {
        std::string why;
        const auto parsed = envelope::parse(R"({"body":)" + body + R"(,"headers":)" + headers +
                                                R"(,"properties":{"delivery_tag":"t","delivery_info":{"exchange":"",)"
                                                R"("routing_key":"q"}}})",
                                            why);
        if (!parsed) return why;
        try {
            if (!parsed->delivery->encoded_headers.empty()) (void)parsed->delivery->encoded_headers.decode();
        } catch (const DecodeError& error) {
            return std::string{error.what()};
        }
        return parsed->delivery->header_error.value_or("none");
    };
    CHECK(header_error(R"({"a":1})", R"("x")") == "none");
    CHECK_THAT(header_error(R"({"a":1e999})", R"("x")"), Contains("headers have a number that is too large"));
    CHECK_THAT(header_error(R"({"a":"\ud800"})", R"("x")"), Contains("headers"));
    CHECK_THAT(header_error("{}", R"("\ud800")"), Contains("body is a text"));
    CHECK_THAT(header_error("{}", "[1e999]"), Contains("body has a number"));
    CHECK_THAT(header_error("{}", R"("x", "content-type": "\ud800")"), Contains("properties have a text"));
}

TEST_CASE("a redelivered message is marked once in its original text", "[envelope]") {
    const auto marked = [](const std::string& text) {
        std::string out;
        std::size_t from = 0;
        for (const auto& mark : envelope::redelivered_marks(text)) {
            out += text.substr(from, mark.at - from);
            out += mark.text;
            from = mark.at;
        }
        return out + text.substr(from);
    };
    const std::string text =
        R"({"body": "\"headers\": {", "headers": {}, "properties": {"n": 123456789012345678901234567890, )"
        R"("delivery_info": {"exchange": "", "routing_key": "q"}, "delivery_tag": "t"}})";
    const std::string again = marked(text);
    CHECK(again == R"({"body": "\"headers\": {", "headers": {"redelivered": true}, "properties": {"n": )"
                   R"(123456789012345678901234567890, "delivery_info": {"redelivered": true, "exchange": "",)"
                   R"( "routing_key": "q"}, )"
                   R"("delivery_tag": "t"}})");
    std::string why;
    CHECK(envelope::parse(again, why)->delivery->info.redelivered);
    CHECK(envelope::parse(text, why)->redelivered_marks == envelope::redelivered_marks(text));
    CHECK(envelope::parse(again, why)->redelivered_marks.empty());
    CHECK(marked(again) == again);
    // Of members with one name the last counts.
    const std::string denied =
        R"({"body": "x", "headers": {"redelivered": false}, "properties": {"delivery_tag": "t", "delivery_info":)"
        R"( {"exchange": "", "redelivered": null, "routing_key": "q" }}})";
    CHECK_FALSE(envelope::parse(denied, why)->delivery->info.redelivered);
    CHECK(marked(denied) ==
          R"({"body": "x", "headers": {"redelivered": false, "redelivered": true}, "properties": {"delivery_tag": "t",)"
          R"( "delivery_info": {"exchange": "", "redelivered": null, "routing_key": "q" , "redelivered": true}}})");
    CHECK(envelope::parse(marked(denied), why)->delivery->info.redelivered);
    CHECK(marked(marked(denied)) == marked(denied));
    CHECK(marked(R"({"properties": {"delivery_info": {"a": 1}}, "headers": {"b": 2}})") ==
          R"({"properties": {"delivery_info": {"redelivered": true, "a": 1}}, "headers": {"redelivered": true,)"
          R"( "b": 2}})");
    CHECK(marked(R"({"headers": null})") == R"({"headers": null})");
}

TEST_CASE("the record of an unacknowledged message names its queue", "[envelope]") {
    const std::string item = R"({"body": "]", "properties": {"priority": 6}})";
    const std::string record = '[' + item + envelope::unacked_suffix("a \"queue\"");
    CHECK(Json::parse(record)[2] == "a \"queue\"");
    const auto held = envelope::parse_unacked_record(record);
    REQUIRE(held);
    CHECK(held->envelope.of(record) == item);
    CHECK(held->exchange.empty());
    CHECK(held->routing_key == "a \"queue\"");
    CHECK(held->priority == 6);
    CHECK(envelope::parse_unacked_record(R"([ {"a":1} , "ex", "rk"])")->envelope.of(R"([ {"a":1} , "ex", "rk"])") ==
          R"({"a":1})");
    for (const char* text : {"", "x", "{}", "[1, 2, 3]", "[{}, 1]"}) CHECK_FALSE(envelope::parse_unacked_record(text));
}

TEST_CASE("base64 is encoded and decoded as Python does", "[base64]") {
    std::string data;
    for (int size = 0; size < 70; ++size) {
        std::string encoded;
        base64::append_encoded(encoded, data);
        CHECK(encoded.size() == base64::encoded_size(data.size()));
        CHECK(base64::decode(encoded) == data);
        data += static_cast<char>(size * 37);
    }
    std::string encoded = "prefix ";
    base64::append_encoded(encoded, "Man is distinguished");
    CHECK(encoded == "prefix TWFuIGlzIGRpc3Rpbmd1aXNoZWQ=");
    CHECK(base64::decode("TW\nFu") == "Man");
    for (const char* broken : {"T", "TW", "TWF", "TWFuT", "TW=", "T==="}) CHECK_FALSE(base64::decode(broken));
}

TEST_CASE("identifiers are unique random UUIDs of version 4", "[uuid]") {
    std::set<std::string> seen;
    for (int i = 0; i < 10'000; ++i) seen.insert(make_uuid());
    CHECK(seen.size() == 10'000);
    for (const std::string& uuid : seen) {
        REQUIRE(uuid.size() == 36);
        REQUIRE(uuid[8] == '-');
        REQUIRE(uuid[13] == '-');
        REQUIRE(uuid[14] == '4');
        REQUIRE(uuid[18] == '-');
        REQUIRE(std::string{"89ab"}.find(uuid[19]) != std::string::npos);
        REQUIRE(uuid[23] == '-');
        REQUIRE(uuid.find_first_not_of("0123456789abcdef-") == std::string::npos);
    }
}

TEST_CASE("topic patterns are written as Kombu writes them", "[routing]") {
    // By kombu.transport.virtual.exchange.TopicExchange.key_to_pattern of 5.2.4.
    CHECK(routing::kombu_topic_regex("a.*.#") == R"(^a\..*?[^\.]\..*?$)");
    CHECK(routing::kombu_topic_regex("a_b-c.d") == R"(^a\_b\-c\.d$)");
    CHECK(routing::kombu_topic_regex("") == "^$");
    CHECK(routing::kombu_topic_regex("a..b") == R"(^a\.\.b$)");
    CHECK(routing::kombu_topic_regex("a b$.#") == R"(^a\ b\$\..*?$)");
    CHECK(routing::kombu_topic_regex("x*y") == "^x*y$");
    CHECK(routing::kombu_topic_regex("video.#") == R"(^video\..*?$)");
}
