// SPDX-License-Identifier: BSD-3-Clause
// Publishing, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/batch.hpp>

#include <array>
#include <cstdint>
#include <list>
#include <span>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Messaging, "M2 a JSON message arrives as it was sent, with Kombu's properties", "[publish]") {
    const Json article = {{"title", "Zürich"}, {"n", {1, 2.5, nullptr}}};
    producer.publish(article, to_queue());
    Message message = queue().get(soon);
    CHECK(message.payload() == article);
    CHECK(message.content_type() == "application/json");
    CHECK(message.content_encoding() == "utf-8");
    CHECK(message.properties().delivery_mode == 2);
    CHECK(message.properties().priority == 0);
    CHECK(message.headers() == Json::object());
    CHECK_FALSE(message.properties().message_id);
    CHECK_FALSE(message.properties().timestamp);
    CHECK_FALSE(message.redelivered());
    CHECK(message.delivery_info().exchange == topology.exchange.name());
    CHECK(message.delivery_info().routing_key == "key");
    message.ack();
}

TEST_CASE_METHOD(Messaging, "S3 text and bytes travel as text/plain and application/data", "[publish]") {
    producer.publish("plain text", to_queue());
    producer.publish(std::string{"string"}, to_queue());
    producer.publish(std::vector<std::byte>{std::byte{0}, std::byte{255}}, to_queue());
    producer.publish("as JSON", to_queue("json"));
    auto from = queue({.no_ack = true});
    const Message text = from.get(soon);
    CHECK(text.content_type() == "text/plain");
    CHECK(text.payload() == "plain text");
    CHECK(from.get(soon).payload() == "string");
    const Message bytes = from.get(soon);
    CHECK(bytes.content_type() == "application/data");
    CHECK(bytes.content_encoding() == "binary");
    CHECK(bytes.body() == std::string("\0\xff", 2));
    const Message json = from.get(soon);
    CHECK(json.content_type() == "application/json");
    CHECK(json.payload() == "as JSON");
}

TEST_CASE_METHOD(Messaging, "a container of bytes is bytes, and never an array of numbers", "[publish]") {
    const std::vector<std::byte> wanted{std::byte{0}, std::byte{1}, std::byte{2}};
    producer.publish(std::vector<unsigned char>{0, 1, 2}, to_queue());
    producer.publish(std::vector<char>{0, 1, 2}, to_queue());
    producer.publish(std::array<std::int8_t, 3>{0, 1, 2}, to_queue());
    producer.publish(std::span{wanted}, to_queue());
    const unsigned char plain_array[] = {0, 1, 2};
    producer.publish(plain_array, to_queue());
    Batch batch = producer.batch();
    batch.publish(std::vector<std::uint8_t>{0, 1, 2}, to_queue());
    batch.commit();
    auto from = queue({.no_ack = true});
    from.put(std::vector<std::uint8_t>{0, 1, 2});
    for (int i = 0; i < 7; ++i) {
        const Message message = from.get(soon);
        CHECK(message.content_type() == "application/data");
        CHECK(message.payload() == Json::binary({0, 1, 2}));
    }
    producer.publish(u8"Zürich", to_queue());
    CHECK(from.get(soon).payload() == "Zürich");
}

namespace {

template <class To>
concept PublishesOptionsAlone = requires(To& to) {
    to.publish({.routing_key = "q"});
};
template <class To>
concept PutsOptionsAlone = requires(To& to) {
    to.put({.priority = 3});
};
template <class To>
concept PublishesList = requires(To& to, std::list<unsigned char> bytes) {
    to.publish(bytes);
};
static_assert(!PublishesOptionsAlone<Producer> && !PublishesOptionsAlone<Batch> && !PutsOptionsAlone<SimpleQueue>);
static_assert(!PublishesList<Producer> && !PublishesList<Batch>);

}  // namespace

TEST_CASE_METHOD(Messaging, "the timeout covers encoding and compressing, and nothing is sent after it", "[publish]") {
    const std::string large(32 << 20, 'x');
    Json array = Json::array();
    for (int i = 0; i < 64; ++i) array.push_back(std::string(1 << 20, 'x'));
    producer.publish("connects", to_queue());
    PublishOptions options = to_queue();
    options.timeout = 1ms;
    options.confirm_timeout = 10s;
    for (const bool compressed : {true, false}) {
        if (compressed) options.compression = "zlib";
        CHECK_THROWS_AS(producer.publish(large, options), Timeout);
        CHECK_THROWS_AS(producer.publish(array, options), Timeout);
        CHECK_THROWS_AS(producer.publish(std::vector<char>(large.begin(), large.end()), options), Timeout);
        options.compression.reset();
    }
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).payload() == "connects");
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "what reads as if it should compile does", "[publish]") {
    auto from = queue({.no_ack = true});
    from.put({{"a", 1}});
    from.put({1, 2}, {.priority = 0});
    from.put({});
    CHECK(from.get(5s).payload() == Json{{"a", 1}});
    CHECK(from.get(std::chrono::minutes{1}).payload() == Json{1, 2});
    CHECK(from.get(5s).payload().is_null());
    CHECK_THROWS_AS(from.get(1ms), Empty);
    CHECK_FALSE(Queue{"q", {.durable = false}}.durable());
    CHECK_FALSE(Queue{"q", Exchange{"e"}, {.durable = false}}.durable());
    CHECK_FALSE(Exchange{"e", {.durable = false}}.durable());
    CHECK(Queue{"q", {.queue_arguments = {{"x-queue-type", "quorum"}}}}.options().queue_arguments.size() == 1);
    CHECK(Queue{"q", {}}.exchange().name().empty());
}

TEST_CASE_METHOD(Messaging, "M3 Q4 a compressed message says so in its headers and keeps its content type",
                 "[publish]") {
    auto options = to_queue();
    options.compression = "zlib";
    options.headers = {{"mine", 1}};
    producer.publish(Json(std::string(1000, 'x')), options);
    const Message message = queue({.no_ack = true}).get(soon);
    CHECK(message.headers() == Json{{"compression", "application/x-gzip"}, {"mine", 1}});
    CHECK(message.content_type() == "application/json");
    CHECK(message.raw_body().size() < 100);
    CHECK(message.payload() == std::string(1000, 'x'));
    CHECK(options.headers == Json{{"mine", 1}});
}

TEST_CASE_METHOD(Messaging, "M4 with a content type the body is sent as it is", "[publish]") {
    auto options = to_queue();
    options.content_type = "text/csv";
    producer.publish("a,b", options);
    options.content_type = "image/png";
    producer.publish(std::vector<std::byte>{std::byte{1}}, options);
    options.content_encoding = "custom";
    producer.publish("x", options);
    auto from = queue({.no_ack = true});
    const Message csv = from.get(soon);
    CHECK(csv.content_type() == "text/csv");
    CHECK(csv.content_encoding() == "utf-8");
    CHECK(csv.body() == "a,b");
    CHECK(from.get(soon).content_encoding() == "binary");
    CHECK(from.get(soon).content_encoding() == "custom");
    CHECK_THROWS_AS(producer.publish(Json{{"not", "bytes"}}, options), ConfigurationError);
}

TEST_CASE_METHOD(Messaging, "M5 every property arrives, and those that were not given do not", "[publish]") {
    auto options = to_queue();
    options.headers = {{"text", "ä"},
                       {"int", 7},
                       {"big", 5'000'000'000},
                       {"neg", -1},
                       {"real", 0.25},
                       {"yes", true},
                       {"nothing", nullptr},
                       {"list", {1, "x", {{"y", 2}}}},
                       {"table", {{"inner", {{"deep", 1}}}}}};
    options.delivery_mode = DeliveryMode::transient;
    options.priority = 3;
    options.expiration = 90s;
    options.correlation_id = "c";
    options.reply_to = "r";
    options.message_id = "m";
    options.timestamp = 1'700'000'000;
    options.type = "t";
    options.app_id = "a";
    producer.publish(1, options);
    const Message message = queue({.no_ack = true}).get(soon);
    const Properties& properties = message.properties();
    CHECK(message.headers() == options.headers);
    CHECK(properties.delivery_mode == 1);
    CHECK(properties.priority == 3);
    CHECK(properties.expiration == "90000");
    CHECK(properties.correlation_id == "c");
    CHECK(properties.reply_to == "r");
    CHECK(properties.message_id == "m");
    CHECK(properties.timestamp == 1'700'000'000u);
    CHECK(properties.type == "t");
    CHECK(properties.app_id == "a");
    CHECK_FALSE(properties.user_id);
    CHECK_FALSE(properties.cluster_id);
}

TEST_CASE_METHOD(Messaging, "invalid options are refused before anything is sent", "[publish]") {
    auto options = to_queue();
    SECTION("priority") { options.priority = 256; }
    SECTION("headers") { options.headers = Json::array(); }
    SECTION("correlation_id") { options.correlation_id = std::string(256, 'x'); }
    SECTION("routing_key") { options.routing_key = std::string(256, 'x'); }
    SECTION("expiration") { options.expiration = -1s; }
    CHECK_THROWS_AS(producer.publish(1, options), ConfigurationError);
    CHECK_FALSE(connection.connected());
}

TEST_CASE_METHOD(Messaging, "an unknown serializer or compression is refused before anything is sent", "[publish]") {
    auto options = to_queue();
    options.serializer = "pickle";
    CHECK_THROWS_AS(producer.publish(1, options), SerializerNotInstalled);
    options = to_queue();
    options.compression = "snappy";
    CHECK_THROWS_AS(producer.publish(1, options), SerializerNotInstalled);
    CHECK_FALSE(connection.connected());
}

TEST_CASE_METHOD(Messaging, "a message of many frames arrives whole", "[publish]") {
    std::string large(3'000'001, 'x');
    for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31 >> 3);
    const auto bytes = std::as_bytes(std::span{large});
    producer.publish(bytes, to_queue());
    producer.publish("", to_queue());
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).body() == large);
    CHECK(from.get(soon).body().empty());
}

TEST_CASE_METHOD(Messaging, "M9 Q12 a message that reaches no queue is dropped, or Unroutable when it is mandatory",
                 "[publish]") {
    producer.maybe_declare(topology.exchange);
    CHECK_NOTHROW(producer.publish(1, {.exchange = topology.exchange, .routing_key = "nobody"}));
    CHECK_THROWS_AS(producer.publish(1, {.exchange = topology.exchange, .routing_key = "nobody", .mandatory = true}),
                    Unroutable);
    // The channel is still usable.
    producer.publish(2, to_queue());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);
}

TEST_CASE_METHOD(Messaging, "mandatory without confirms is refused, since a return would be lost", "[publish]") {
    Connection unconfirmed{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    CHECK_THROWS_AS(Producer{unconfirmed}.publish(1, {.routing_key = "x", .mandatory = true}), ConfigurationError);
}

TEST_CASE_METHOD(Messaging, "publishing without confirms works", "[publish]") {
    Connection unconfirmed{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    Producer fast{unconfirmed};
    for (int i = 0; i < 100; ++i) fast.publish(i, to_queue());
    auto from = queue({.no_ack = true});
    for (int i = 0; i < 100; ++i) REQUIRE(from.get(soon).payload() == i);
}

TEST_CASE_METHOD(Messaging, "publishing to a missing exchange closes the channel, not the connection",
                 "[publish][errors]") {
    try {
        producer.publish(1, {.exchange = unique("no.such.exchange"), .routing_key = "key"});
        FAIL("published");
    } catch (const ChannelError& error) {
        CHECK(error.code() == 404);
        CHECK_THAT(error.what(), Contains("NOT_FOUND"));
        CHECK_FALSE(error.poisons_connection());
    }
    CHECK(connection.connected());
    producer.publish(2, to_queue());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);
}

TEST_CASE_METHOD(Messaging, "X9 the default exchange reaches a queue by its name", "[publish]") {
    auto from = connection.simple_queue(topology.queue.name() + ".direct");
    producer.publish(1, {.routing_key = from.queue().name()});
    CHECK(from.get(soon).payload() == 1);
    connection.channel().queue_delete(from.queue().name());
    connection.channel().exchange_delete(from.queue().name());
}

TEST_CASE_METHOD(Messaging, "messages with equal options follow each change of the bindings", "[publish]") {
    const Queue other{unique("test.queue"), topology.exchange, "other", {.auto_delete = true}};
    producer.maybe_declare(topology.queue);
    producer.maybe_declare(other);
    const PublishOptions options{.exchange = topology.exchange, .routing_key = "key"};
    auto first = queue({.no_ack = true});
    auto channel = connection.default_channel();
    const std::string exchange = topology.exchange.name();
    producer.publish(1, options);
    channel.queue_bind(other.name(), exchange, "key");
    producer.publish(2, options);
    channel.queue_unbind(topology.queue.name(), exchange, "key");
    producer.publish(3, options);
    channel.queue_delete(other.name());
    producer.publish(4, options);
    channel.queue_bind(topology.queue.name(), exchange, "key");
    producer.publish(5, options);
    for (const int expected : {1, 2, 5}) CHECK(first.get(soon).payload() == expected);
    CHECK_THROWS_AS(first.get({.block = false}), Empty);
}

TEST_CASE_METHOD(Messaging, "a callback of a publish may destroy its producer and connection", "[publish]") {
    auto own_connection = std::make_unique<Connection>(broker_url());
    auto own_producer = std::make_unique<Producer>(*own_connection);
    const Queue declared{topology.queue.name(), topology.exchange, "key", {.on_declared = [&](const QueueInfo&) {
                             own_producer.reset();
                             own_connection.reset();
                         }}};
    own_producer->publish(Json{{"n", 1}}, {.exchange = topology.exchange, .routing_key = "key", .declare = {declared}});
    CHECK_FALSE(own_connection);
    CHECK(queue({.no_ack = true}).get(soon).payload() == Json{{"n", 1}});
}

TEST_CASE("publish(nullptr) is JSON null", "[publish]") {
    Connection connection{broker_url()};
    const std::string name = unique("test.simple");
    auto queue = connection.simple_queue(name);
    queue.put(nullptr);
    CHECK(queue.get(soon).payload() == nullptr);
    connection.channel().queue_delete(name);
    connection.channel().exchange_delete(name);
}

TEST_CASE("without confirms a refused message closes the channel, not the connection", "[publish][errors]") {
    Connection connection{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    Producer producer{connection};
    const PublishOptions nowhere{.exchange = Exchange{unique("no.such.exchange")}, .routing_key = "key"};
    CHECK(eventually([&] {
        try {
            producer.publish("text", nowhere);
            return false;
        } catch (const ChannelError&) {
            return true;
        }
    }));
    CHECK(connection.connected());
    Messaging messaging;
    producer.publish("text", messaging.to_queue());
    CHECK(messaging.queue().get(soon).payload() == Json("text"));
}

TEST_CASE_METHOD(Messaging, "M10 M11 M12 a producer without a connection works once it has one, and moves to another",
                 "[publish]") {
    Producer unconnected;
    CHECK_THROWS_AS(unconnected.publish(1, to_queue()), LeaseError);
    unconnected.revive(connection);
    unconnected.publish(1, to_queue());
    Connection second{broker_url()};
    unconnected.revive(second);
    connection.release();
    unconnected.publish(2, to_queue());
    CHECK(second.connected());
    CHECK_FALSE(connection.connected());
    auto simple = queue();
    CHECK(simple.get(soon).payload() == 1);
    CHECK(simple.get(soon).payload() == 2);
}
