// C++ and Python exchange messages over RabbitMQ; the Python side is Kombu itself.
#include "support/broker.hpp"
#include "support/catch.hpp"

#include <array>
#include <cstdio>
#include <memory>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string{"'\\''"} : std::string{c};
    return out + "'";
}

/// Runs the Python side and returns what it printed.
std::string python(std::initializer_list<std::string> arguments) {
    std::string command = KOMBU_TEST_PEER;
    for (const std::string& argument : arguments) command += ' ' + quoted(argument);
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe{::popen(command.c_str(), "r"), ::pclose};
    REQUIRE(pipe);
    std::string output;
    std::array<char, 4096> buffer{};
    while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe.get()))
        output.append(buffer.data(), count);
    INFO(command);
    return output;
}

Json read_by_python(const Place& place) {
    const std::string output = python({"read", broker_url(), place.queue.name()});
    REQUIRE_FALSE(output.empty());
    return Json::parse(output);
}

const Json article = {{"title", "No cellular coverage on the tube for 2012"},
                      {"ingress", "yadda yadda yadda"},
                      {"n", {1, 2.5, nullptr, "ü"}}};

}  // namespace

TEST_CASE("Kombu reads an article published with json and zlib", "[interop]") {
    Place place;
    Connection connection{broker_url()};
    Producer{connection}.publish(article, {.exchange = place.exchange,
                                           .routing_key = "key",
                                           .declare = {place.queue},
                                           .serializer = "json",
                                           .compression = "zlib"});
    const Json seen = read_by_python(place);
    CHECK(seen["payload"] == article);
    CHECK(seen["content_type"] == "application/json");
    CHECK(seen["content_encoding"] == "utf-8");
    CHECK(seen["headers"] == Json{{"compression", "application/x-gzip"}});
    CHECK(seen["exchange"] == place.exchange.name());
    CHECK(seen["routing_key"] == "key");
}

TEST_CASE("an article that Kombu published with json and zlib is read", "[interop]") {
    for (const std::string compression : {"zlib", ""}) {
        Place place;
        Connection connection{broker_url()};
        auto queue = connection.simple_queue(place.queue);
        python({"publish", broker_url(), place.exchange.name(), "key", compression, article.dump()});
        Message message = queue.get({.block = true, .timeout = 10s});
        CHECK(message.payload() == article);
        CHECK(message.content_type() == "application/json");
        message.ack();
    }
}

TEST_CASE("the properties on the wire are exactly those that Kombu sends", "[interop]") {
    for (const std::string compression : {"zlib", ""}) {
        Place place;
        Connection connection{broker_url()};
        PublishOptions options{.exchange = place.exchange, .routing_key = "key", .declare = {place.queue}};
        if (!compression.empty()) options.compression = compression;
        Producer{connection}.publish(article, options);
        python({"publish", broker_url(), place.exchange.name(), "key", compression, article.dump()});
        const Json ours = read_by_python(place), theirs = read_by_python(place);
        CHECK(ours == theirs);
        CHECK(ours["has_headers"] == true);
        CHECK(ours["properties"] == Json{{"content_type", "application/json"},
                                         {"content_encoding", "utf-8"},
                                         {"delivery_mode", 2},
                                         {"priority", 0}});
    }
}

TEST_CASE("Kombu reads text, every property, and headers of every type", "[interop]") {
    Place place;
    Connection connection{broker_url()};
    const Json headers = {{"text", "ä"}, {"int", 7},           {"big", 5'000'000'000}, {"real", 0.25},
                          {"yes", true}, {"nothing", nullptr}, {"list", {1, "x"}},     {"table", {{"inner", 1}}}};
    Producer{connection}.publish("plain text", {.exchange = place.exchange,
                                                .routing_key = "key",
                                                .declare = {place.queue},
                                                .headers = headers,
                                                .delivery_mode = "transient",
                                                .priority = 3,
                                                .expiration = 90s,
                                                .correlation_id = "c",
                                                .reply_to = "r",
                                                .message_id = "m",
                                                .type = "t",
                                                .app_id = "a"});
    const Json seen = read_by_python(place);
    CHECK(seen["payload"] == "plain text");
    CHECK(seen["headers"] == headers);
    CHECK(seen["properties"] == Json{{"content_type", "text/plain"},
                                     {"content_encoding", "utf-8"},
                                     {"delivery_mode", 1},
                                     {"priority", 3},
                                     {"expiration", "90000"},
                                     {"correlation_id", "c"},
                                     {"reply_to", "r"},
                                     {"message_id", "m"},
                                     {"type", "t"},
                                     {"app_id", "a"}});
}
