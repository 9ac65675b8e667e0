// SPDX-License-Identifier: BSD-3-Clause
// Every kind of value at its edges: it arrives as it was sent, or is refused before anything is sent.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/python_peer.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

constexpr double denormal = std::numeric_limits<double>::denorm_min();
constexpr double infinity = std::numeric_limits<double>::infinity();

Json bytes(std::vector<std::uint8_t> data) { return Json::binary(std::move(data)); }

/// A value, and Python's repr() of it.
struct Value {
    Json json;
    std::string python;
    /// As Python sends it, when that is not its repr().
    std::string expression{};
    bool fits_json = true;
};

std::vector<Value> values() {
    std::vector<Value> all{
        {nullptr, "None"},
        {true, "True"},
        {false, "False"},
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {0.1, "0.1"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {1e-4, "0.0001"},
        {1e-5, "1e-05"},
        {9007199254740992.0, "9007199254740992.0"},
        {denormal, "5e-324"},
        {std::numeric_limits<double>::min(), "2.2250738585072014e-308"},
        {std::numeric_limits<double>::max(), "1.7976931348623157e+308"},
        {std::numeric_limits<double>::lowest(), "-1.7976931348623157e+308"},
        {"", "''"},
        {"ü😀", "'ü😀'"},
        {std::string{"a\0b", 3}, "'a\\x00b'"},
        {Json::object(), "{}"},
        {Json::array(), "[]"},
        {{{"inner", {{"list", {1, 2.0, {{"deep", "x"}}}}}}}, "{'inner': {'list': [1, 2.0, {'deep': 'x'}]}}"},
        {bytes({0, 255}), "b'\\x00\\xff'", {}, false},
        {Timestamp{0}, "datetime.datetime(1970, 1, 1, 0, 0)", "datetime(1970, 1, 1)", false},
        {Timestamp{253'402'300'799}, "datetime.datetime(9999, 12, 31, 23, 59, 59)",
         "datetime(9999, 12, 31, 23, 59, 59)", false},
        {Decimal{"0"}, "Decimal('0')", {}, false},
        {Decimal{"-1.50"}, "Decimal('-1.5')", "Decimal('-1.50')", false},  // py-amqp divides
        {Decimal{"2147483647"}, "Decimal('2147483647')", {}, false},
        {Decimal{"-2147483648"}, "Decimal('-2147483648')", {}, false},
        {Decimal{"0.000001"}, "Decimal('0.000001')", {}, false},
    };
    for (const std::int64_t edge :
         {std::int64_t{0}, std::int64_t{INT8_MAX}, std::int64_t{UINT8_MAX}, std::int64_t{INT16_MAX},
          std::int64_t{UINT16_MAX}, std::int64_t{INT32_MAX}, std::int64_t{UINT32_MAX}, std::int64_t{1} << 40,
          (std::int64_t{1} << 53) + 1, INT64_MAX - 1})
        for (const std::int64_t number : {edge, edge + 1, -edge, -edge - 1, -edge - 2})
            all.push_back({number, std::to_string(number)});
    return all;
}

Json typed(const Json& value, const std::string& python) {
    // The peer shows tables and arrays as such, of texts.
    if (!value.is_structured()) return python;
    Json shown = value.is_object() ? Json::object() : Json::array();
    if (value.is_object())
        for (const auto& [key, inner] : value.items())
            shown[key] = typed(inner, inner.is_string() ? "'x'" : inner.dump());
    else
        for (const Json& inner : value) shown.push_back(typed(inner, inner.is_string() ? "'x'" : inner.dump()));
    return shown;
}

/// Tells 1 from 1.0, and -0.0 from 0.0, as == does not.
bool same(const Json& a, const Json& b) { return a.dump() == b.dump(); }

Json queue_arguments(const Queue& queue, const char* type) {
    return {queue.name(), queue.exchange().name(), type, queue.routing_key()};
}

}  // namespace

TEST_CASE("a value in headers arrives in Python as what it was", "[interop][values]") {
    PythonPeer peer{{KOMBU_TEST_PEER, broker_url()}};
    Topology topology;
    Connection connection{broker_url()};
    Producer producer{connection};
    peer({{"do", "listen"}, {"queue", queue_arguments(topology.queue, "direct")}});
    for (const Value& value : values()) {
        if (on_redis() && !value.fits_json) continue;
        INFO(value.python);
        producer.publish("", {.exchange = topology.exchange, .routing_key = "key", .headers = {{"v", value.json}}});
        const Json messages = peer({{"do", "receive"}})["messages"];
        REQUIRE(messages.size() == 1);
        CHECK(messages[0]["header_types"]["v"] == typed(value.json, value.python));
    }
}

TEST_CASE("a value in headers arrives from Python as what it was", "[interop][values]") {
    PythonPeer peer{{KOMBU_TEST_PEER, broker_url()}};
    Topology topology;
    Connection connection{broker_url()};
    auto from = connection.simple_queue(topology.queue, {.accept = {"text"}});
    for (const Value& value : values()) {
        if (on_redis() && !value.fits_json) continue;
        INFO(value.python);
        peer({{"do", "publish_headers"},
              {"exchange", topology.exchange.name()},
              {"key", "key"},
              {"headers", "{'v': " + (value.expression.empty() ? value.python : value.expression) + "}"}});
        Message message = from.get({.timeout = 10s});
        INFO(message.headers().dump());
        CHECK(same(message.headers()["v"], value.json));
        message.ack();
    }
}

TEST_CASE("a value in headers arrives in C++ as what it was, whatever was sent before", "[interop][values]") {
    Topology topology;
    Connection connection{broker_url()};
    Producer producer{connection};
    auto from = connection.simple_queue(topology.queue, {.accept = {"text"}});
    std::vector<Json> sent;
    for (const Value& value : values())
        if (!on_redis() || value.fits_json) sent.push_back(value.json);
    // Equal to nlohmann's ==, one after the other.
    for (const Json& alike : {Json{1}, Json{1.0}, Json{9007199254740992.0}, Json{9007199254740993}, Json{0.0},
                              Json{-0.0}, Json{{{"a", 1}}}, Json{{{"a", 1.0}}}, Json{true}})
        sent.push_back(alike);
    if (on_redis())
        for (const Json& wide : {Json(-1), Json(UINT64_MAX), Json(-1)}) sent.push_back(wide);
    for (const Json& value : sent) {
        INFO(value.dump());
        producer.publish("", {.exchange = topology.exchange, .routing_key = "key", .headers = {{"v", value}}});
        Message message = from.get({.timeout = 10s});
        INFO(message.headers().dump());
        CHECK(same(message.headers()["v"], value));
        message.ack();
    }
}

TEST_CASE("a value in binding arguments matches the same value of a header, from both sides", "[interop][values]") {
    if (on_redis()) return;  // has no headers exchanges
    PythonPeer peer{{KOMBU_TEST_PEER, broker_url()}};
    Topology topology{"headers"};
    Connection connection{broker_url()};
    Producer producer{connection};
    auto from = connection.simple_queue(topology.queue, {.accept = {"text"}});
    auto channel = connection.channel();
    channel.queue_unbind(topology.queue.name(), topology.exchange.name(), "key");
    const std::vector<Value> all = values();
    for (std::size_t i = 0; i < all.size(); ++i) {
        const Value& value = all[i];
        if (value.json.is_structured() || (value.json.is_string() && value.json.get_ref<const std::string&>().empty()))
            continue;
        INFO(value.python);
        const std::string name = "v" + std::to_string(i);
        channel.queue_bind(topology.queue.name(), topology.exchange.name(), "", {{name, value.json}});
        producer.publish("", {.exchange = topology.exchange, .headers = {{name, value.json}}, .mandatory = true});
        CHECK_NOTHROW(from.get({.timeout = 10s}).ack());
        if (value.json.is_binary()) continue;  // to Python bytes are text, a trailing zero of a decimal is lost
        peer({{"do", "publish_headers"},
              {"exchange", topology.exchange.name()},
              {"type", "headers"},
              {"key", ""},
              {"headers", "{'" + name + "': " + value.python + "}"}});
        CHECK_NOTHROW(from.get({.timeout = 10s}).ack());
    }
}

TEST_CASE("a value that cannot travel is refused before anything is sent, with its path", "[interop][values]") {
    Topology topology;
    Connection connection{broker_url()};
    Producer producer{connection};
    auto to = connection.simple_queue(topology.queue);
    struct Refused {
        Json headers;
        std::string text;
    };
    std::vector<Refused> all{
        {{{"price", {1, 2, std::nan("")}}}, "headers.price[2]: not a finite number"},
        {{{"a", {{"b", {{{"c", infinity}}}}}}}, "headers.a.b[0].c: not a finite number"},
        {{{"a", -infinity}}, "headers.a: not a finite number"},
        {{{"text", "\xff"}}, "headers.text: the text is not valid UTF-8"},
        {{{"\xff", 1}}, "headers.?: the key is not valid UTF-8"},
    };
    Json deep = 1;
    for (int i = 0; i < 300; ++i) deep = Json::array({std::move(deep)});
    all.push_back({{{"deep", std::move(deep)}}, "nested too deep"});
    if (on_redis()) {
        all.push_back({{{"a", bytes({1})}}, "headers.a: JSON cannot represent bytes"});
        all.push_back({{{"a", Timestamp{1}}}, "headers.a: JSON cannot represent bytes, timestamps"});
    } else {
        all.push_back({{{"a", {UINT64_MAX}}}, "headers.a[0]: the integer does not fit"});
        all.push_back({{{std::string(256, 'k'), 1}}, "the key is longer than 255 bytes"});
        all.push_back({{{"a", Json::binary({1}, 42)}}, "headers.a: the binary has an unknown subtype"});
        all.push_back({{{"huge", std::string(131'072, 'x')}}, "frame"});
    }
    for (const Refused& refused : all) {
        INFO(refused.text);
        const PublishOptions options{.routing_key = topology.queue.name(), .headers = refused.headers};
        CHECK_THROWS_WITH(producer.publish("", options), Contains(refused.text));
        CHECK_THROWS_AS(producer.publish("", options), EncodeError);
        CHECK(connection.connected());
    }
    CHECK(to.qsize() == 0);

    const Json nan{{"a", std::nan("")}};
    CHECK_THROWS_WITH((Queue{"q", {}, "", {.queue_arguments = nan}}), Contains("queue_arguments.a: not a finite"));
    CHECK_THROWS_WITH((Queue{"q", {}, "", {.binding_arguments = nan}}), Contains("binding_arguments.a: not a finite"));
    CHECK_THROWS_WITH((Exchange{"e", "direct", {.arguments = nan}}), Contains("exchange arguments.a: not a finite"));
    auto channel = connection.channel();
    CHECK_THROWS_AS(channel.queue_bind(topology.queue.name(), topology.exchange.name(), "k", nan), ConfigurationError);
    CHECK_THROWS_AS((Queue{"\xff"}), ConfigurationError);
    CHECK_THROWS_AS((Exchange{"\xff"}), ConfigurationError);
    CHECK_THROWS_AS(producer.publish("", {.routing_key = "\xff"}), ConfigurationError);
    CHECK_THROWS_AS(producer.publish("", {.routing_key = "k", .message_id = "\xff"}), ConfigurationError);
    CHECK_THROWS_AS(channel.queue_purge("\xff"), ConfigurationError);
    CHECK(channel.is_open());
    CHECK_THROWS_WITH(producer.publish(Json{{"price", {1, std::nan("")}}}, {.routing_key = "k"}),
                      Contains("body.price[1]: not a finite number"));
    CHECK_THROWS_AS(Timestamp{-1}, ConfigurationError);
    CHECK_THROWS_AS(Timestamp{std::chrono::system_clock::time_point{-1ns}}, ConfigurationError);
    CHECK(Timestamp{std::chrono::system_clock::time_point{1'999'999'999ns}}.seconds() == 1);
}

TEST_CASE("names and headers of the largest size arrive", "[interop][values]") {
    PythonPeer peer{{KOMBU_TEST_PEER, broker_url()}};
    const std::string longest = (unique("n") + std::string(255, 'n')).substr(0, 255);
    const Queue queue{longest, Exchange{longest}, longest};
    Connection connection{broker_url()};
    peer({{"do", "listen"}, {"queue", queue_arguments(queue, "direct")}});
    Json headers{{std::string(255, 'k'), std::string(120'000, 'x')}};
    Producer{connection}.publish("", {.exchange = queue.exchange(), .routing_key = longest, .headers = headers});
    const Json messages = peer({{"do", "receive"}})["messages"];
    CHECK(messages.at(0).at("headers") == headers);
    CHECK(messages.at(0).at("routing_key") == longest);
    peer({{"do", "delete"}, {"queue", queue_arguments(queue, "direct")}});
    connection.channel().exchange_delete(longest);
}

TEST_CASE("decimals are read and written exactly", "[values]") {
    for (const char* text : {"0", "-1.50", "2147483647", "-2147483648", "0.05", "-0.05", "-21474836.48"}) {
        CHECK(Decimal{text}.text() == text);
        CHECK(Json(Decimal{text}).get<Decimal>() == Decimal{text});
        CHECK(is_decimal(Json(Decimal{text})));
    }
    for (const char* text : {"", "x", "1.2.3", "2147483648", "1e5", "0x1", " 1", "1 ", "--1", "-", ".", ".-5"})
        CHECK_THROWS_AS(Decimal{text}, ConfigurationError);
    CHECK(Decimal{5, 3}.text() == "0.005");
    CHECK_FALSE(is_decimal(Json(Timestamp{1})));
    CHECK_THROWS_AS(Json("1").get<Decimal>(), DecodeError);
    CHECK_THROWS_AS(Json(1).get<Timestamp>(), DecodeError);
}

TEST_CASE("a million doubles are written as Python's json.dumps writes them", "[interop][values]") {
    if (on_redis()) return;  // needs no broker: once is enough
    const std::filesystem::path file = std::filesystem::temp_directory_path() / unique("doubles");
    {
        std::ofstream out{file};
        std::mt19937_64 random{1};
        for (int i = 0; i < 1'000'000; ++i) {
            double number = std::bit_cast<double>(random());
            if (i % 4 == 1) number = static_cast<double>(random() % 2'000'000) / 1000 - 1000;
            if (i % 4 == 2)
                number = std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 20) - 14);
            if (i % 4 == 3)
                number = std::pow(10, static_cast<double>(random() % 60) - 30) * static_cast<double>(random() % 1000);
            if (!std::isfinite(number)) number = denormal * i;
            out << std::bit_cast<std::uint64_t>(number) << ' ' << encode_body(number, "json").data << '\n';
        }
    }
    const std::string check =
        "/usr/bin/python3 -c \"import json, struct, sys\n"
        "n = 0\n"
        "for line in open(sys.argv[1]):\n"
        "    bits, text = line.split()\n"
        "    n += 1\n"
        "    wanted = json.dumps(struct.unpack('d', struct.pack('Q', int(bits)))[0])\n"
        "    if text != wanted: sys.exit(f'{text} is not {wanted}')\n"
        "sys.exit(n != 1000000)\" " +
        file.string();
    CHECK(std::system(check.c_str()) == 0);
    std::filesystem::remove(file);
}
