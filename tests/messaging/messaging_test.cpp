// What publishing, getting and settling do, the same on every broker. Runs against memory and against RabbitMQ.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

struct Fixture {
    Place place;
    Connection connection{broker_url()};
    Producer producer{connection};

    PublishOptions here() const {
        return {.exchange = place.exchange, .routing_key = "key", .declare = {place.exchange, place.queue}};
    }
    PublishOptions here(std::string serializer) const {
        auto options = here();
        options.serializer = std::move(serializer);
        return options;
    }
    SimpleQueue queue(SimpleQueueOptions options = {}) { return connection.simple_queue(place.queue, options); }
};

const GetOptions soon{.block = true, .timeout = 10s};

}  // namespace

TEST_CASE("C1 a connection connects when told to or when first used, and not before", "[connection]") {
    Connection connection{broker_url()};
    CHECK_FALSE(connection.connected());
    CHECK(&connection.connect() == &connection);
    CHECK(connection.connected());
    CHECK(connection.connect().connected());
    connection.release();
    CHECK_FALSE(connection.connected());
    connection.release();
    connection.default_channel();
    CHECK(connection.connected());
}

TEST_CASE("a copy of a connection is unconnected, a move takes the session along", "[connection]") {
    Connection connection{broker_url()};
    connection.connect();
    Connection copy = connection;
    CHECK_FALSE(copy.connected());
    CHECK(copy == connection);
    CHECK_FALSE(connection.clone().connected());
    Connection moved = std::move(connection);
    CHECK(moved.connected());
    CHECK_FALSE(connection.connected());
    CHECK_THROWS_AS(connection.connect(), LeaseError);
}

TEST_CASE("C17 the default channel is one channel, opened again after it was closed", "[connection]") {
    Connection connection{broker_url()};
    auto channel = connection.default_channel();
    CHECK(channel.is_open());
    channel.close();
    CHECK_FALSE(channel.is_open());
    CHECK(connection.default_channel().is_open());
    connection.release();
    CHECK(connection.default_channel().is_open());
}

TEST_CASE_METHOD(Fixture, "M2 a JSON message arrives as it was sent, with Kombu's properties", "[publish]") {
    const Json article = {{"title", "Zürich"}, {"n", {1, 2.5, nullptr}}};
    producer.publish(article, here());
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
    CHECK(message.delivery_info().exchange == place.exchange.name());
    CHECK(message.delivery_info().routing_key == "key");
    message.ack();
}

TEST_CASE_METHOD(Fixture, "text and bytes travel as text/plain and application/data", "[publish]") {
    producer.publish("plain text", here());
    producer.publish(std::string{"string"}, here());
    producer.publish(std::vector<std::byte>{std::byte{0}, std::byte{255}}, here());
    producer.publish("as JSON", here("json"));
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

TEST_CASE_METHOD(Fixture, "M3 a compressed message says so in its headers and keeps its content type", "[publish]") {
    auto options = here();
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

TEST_CASE_METHOD(Fixture, "M4 with a content type the body is sent as it is", "[publish]") {
    auto options = here();
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

TEST_CASE_METHOD(Fixture, "M5 every property arrives, and those that were not given do not", "[publish]") {
    auto options = here();
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

TEST_CASE_METHOD(Fixture, "options that cannot be are refused before anything is sent", "[publish]") {
    auto options = here();
    SECTION("priority") { options.priority = 256; }
    SECTION("headers") { options.headers = Json::array(); }
    SECTION("correlation_id") { options.correlation_id = std::string(256, 'x'); }
    SECTION("routing_key") { options.routing_key = std::string(256, 'x'); }
    SECTION("expiration") { options.expiration = -1s; }
    CHECK_THROWS_AS(producer.publish(1, options), ConfigurationError);
    CHECK_FALSE(connection.connected());
}

TEST_CASE_METHOD(Fixture, "a serializer or compression that is not known is refused before anything is sent",
                 "[publish]") {
    auto options = here();
    options.serializer = "pickle";
    CHECK_THROWS_AS(producer.publish(1, options), SerializerNotInstalled);
    options = here();
    options.compression = "snappy";
    CHECK_THROWS_AS(producer.publish(1, options), SerializerNotInstalled);
    CHECK_FALSE(connection.connected());
}

TEST_CASE_METHOD(Fixture, "a message of many frames arrives whole", "[publish]") {
    std::string large(3'000'001, 'x');
    for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31 >> 3);
    const auto bytes = std::as_bytes(std::span{large});
    producer.publish(bytes, here());
    producer.publish("", here());
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).body() == large);
    CHECK(from.get(soon).body().empty());
}

TEST_CASE_METHOD(Fixture, "a message that reaches no queue is dropped, or Unroutable when it is mandatory",
                 "[publish]") {
    producer.maybe_declare(place.exchange);
    CHECK_NOTHROW(producer.publish(1, {.exchange = place.exchange, .routing_key = "nobody"}));
    CHECK_THROWS_AS(producer.publish(1, {.exchange = place.exchange, .routing_key = "nobody", .mandatory = true}),
                    Unroutable);
    // The channel is whole.
    producer.publish(2, here());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);
}

TEST_CASE_METHOD(Fixture, "mandatory without confirms is refused, since nobody could be told", "[publish]") {
    Connection unconfirmed{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    CHECK_THROWS_AS(Producer{unconfirmed}.publish(1, {.routing_key = "x", .mandatory = true}), ConfigurationError);
}

TEST_CASE_METHOD(Fixture, "publishing without confirms works", "[publish]") {
    Connection unconfirmed{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    Producer fast{unconfirmed};
    for (int i = 0; i < 100; ++i) fast.publish(i, here());
    auto from = queue({.no_ack = true});
    for (int i = 0; i < 100; ++i) REQUIRE(from.get(soon).payload() == i);
}

TEST_CASE_METHOD(Fixture, "publishing to an exchange that does not exist costs the channel, not the connection",
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
    producer.publish(2, here());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);
}

TEST_CASE_METHOD(Fixture, "Q14 declaring something again with other properties is NotEquivalentError",
                 "[declare][errors]") {
    producer.publish(1, here());
    CHECK_THROWS_AS(producer.maybe_declare(Exchange{place.exchange.name(), "fanout"}), NotEquivalentError);
    CHECK_THROWS_AS(producer.maybe_declare(Queue{place.queue.name(), place.exchange, "key", {.durable = false}}),
                    NotEquivalentError);
    CHECK(connection.connected());
    CHECK(queue({.no_ack = true}).get(soon).payload() == 1);
}

TEST_CASE_METHOD(Fixture, "X5 a passive declaration only looks", "[declare][errors]") {
    CHECK_THROWS_AS(producer.maybe_declare(Queue(place.queue.name(), {}, {}, {.passive = true})), ChannelError);
    CHECK_THROWS_AS(producer.maybe_declare(Exchange(place.exchange.name(), "direct", {.passive = true})), ChannelError);
    producer.maybe_declare(place.queue);
    CHECK_NOTHROW(producer.maybe_declare(Queue(place.queue.name(), {}, {}, {.passive = true})));
    CHECK_NOTHROW(producer.maybe_declare(Exchange(place.exchange.name(), "direct", {.passive = true})));
}

TEST_CASE_METHOD(Fixture, "an entity is declared once per session", "[declare]") {
    CHECK(producer.maybe_declare(place.queue));
    CHECK_FALSE(producer.maybe_declare(place.queue));
    connection.release();
    CHECK(producer.maybe_declare(place.queue));
    // D48: the name alone does not make it known, and a refusal makes everything unknown.
    CHECK_THROWS_AS(producer.maybe_declare(Queue(place.queue.name(), place.exchange, "key", {.max_length = 3})),
                    NotEquivalentError);
    CHECK(producer.maybe_declare(place.queue));
}

TEST_CASE_METHOD(Fixture, "D48 a queue that somebody deleted is declared again after the refusal", "[declare]") {
    producer.publish(1, here());
    Connection other{broker_url()};
    other.channel().exchange_delete(place.exchange.name());
    CHECK_THROWS_AS(producer.publish(2, here()), ChannelError);
    producer.publish(3, here());
    auto from = queue({.no_ack = true});
    CHECK(from.get(soon).payload() == 1);
    CHECK(from.get(soon).payload() == 3);
}

TEST_CASE_METHOD(Fixture, "M1 a producer declares its own exchange at its first publish", "[declare]") {
    Producer own{connection, {.exchange = place.exchange, .routing_key = "key"}};
    CHECK_FALSE(connection.connected());
    own.publish(1);
    producer.maybe_declare(place.queue);
    own.publish(2);
    CHECK(queue({.no_ack = true}).get(soon).payload() == 2);

    Producer quiet{connection, {.exchange = Exchange{unique("undeclared")}, .auto_declare = false}};
    CHECK_THROWS_AS(quiet.publish(1), ChannelError);
}

TEST_CASE_METHOD(Fixture, "X9 the default exchange reaches a queue by its name", "[publish]") {
    auto from = connection.simple_queue(place.queue.name() + ".direct");
    producer.publish(1, {.routing_key = from.queue().name()});
    CHECK(from.get(soon).payload() == 1);
    connection.channel().queue_delete(from.queue().name());
    connection.channel().exchange_delete(from.queue().name());
}

TEST_CASE("the exchange types route as AMQP says", "[routing]") {
    const auto routed = [](const std::string& type, const std::string& bound, const std::string& key,
                           Json arguments = Json::object(), Json headers = Json::object()) {
        Place place{type};
        Connection connection{broker_url()};
        const Queue queue{place.queue.name(), place.exchange, bound, {.binding_arguments = std::move(arguments)}};
        Producer producer{connection};
        producer.publish(
            1, {.exchange = place.exchange, .routing_key = key, .declare = {queue}, .headers = std::move(headers)});
        return connection.simple_queue(queue).qsize() == 1;
    };
    CHECK(routed("direct", "a", "a"));
    CHECK_FALSE(routed("direct", "a", "b"));
    CHECK(routed("fanout", "a", "b"));
    CHECK(routed("topic", "a.*", "a.b"));
    CHECK_FALSE(routed("topic", "a.*", "a.b.c"));
    CHECK(routed("topic", "a.#", "a"));
    CHECK(routed("headers", "", "", {{"x-match", "any"}, {"k", 1}}, {{"k", 1}}));
    CHECK_FALSE(routed("headers", "", "", {{"k", 1}, {"l", 2}}, {{"k", 1}}));
}

TEST_CASE("further bindings of a queue are declared with it", "[declare]") {
    Place one, two{"topic"};
    const Queue queue{one.queue.name(), one.exchange, "key", {.bindings = {{two.exchange, "a.#"}}}};
    Connection connection{broker_url()};
    Producer producer{connection};
    producer.publish(1, {.exchange = two.exchange, .routing_key = "a.b", .declare = {queue}});
    CHECK(connection.simple_queue(queue).get(soon).payload() == 1);
}

TEST_CASE_METHOD(Fixture, "M19 a message is settled once", "[settle]") {
    for (int i = 0; i < 3; ++i) producer.publish(i, here());
    auto from = queue();
    Message first = from.get(soon);
    first.ack();
    CHECK(first.acknowledged());
    CHECK_THROWS_WITH(first.ack(), Contains("acknowledged"));
    CHECK_THROWS_AS(first.reject(), MessageStateError);
    CHECK_THROWS_AS(first.requeue(), MessageStateError);
    Message second = from.get(soon);
    second.reject();
    CHECK_THROWS_AS(second.ack(), MessageStateError);
    Message third = from.get(soon);
    third.requeue();
    CHECK_THROWS_AS(third.ack(), MessageStateError);
    CHECK(from.get(soon).payload() == 2);
}

TEST_CASE_METHOD(Fixture, "a requeued message comes again, marked redelivered, in its old place", "[settle]") {
    for (int i = 0; i < 3; ++i) producer.publish(i, here());
    auto from = queue({.no_ack = false});
    Message first = from.get(soon);
    first.requeue();
    Message again = from.get(soon);
    CHECK(again.payload() == 0);
    CHECK(again.redelivered());
    again.ack();
    CHECK_FALSE(from.get(soon).redelivered());
}

TEST_CASE_METHOD(Fixture, "messages not settled go back when their channel closes", "[settle]") {
    for (int i = 0; i < 3; ++i) producer.publish(i, here());
    auto channel = connection.channel();
    auto first = channel.basic_get(place.queue.name());
    auto second = channel.basic_get(place.queue.name());
    REQUIRE((first && second));
    channel.close();
    CHECK_THROWS_AS(first->ack(), ChannelError);
    auto from = queue({.no_ack = true});
    for (int i = 0; i < 3; ++i) {
        const Message message = from.get(soon);
        CHECK(message.payload() == i);
        CHECK(message.redelivered() == (i < 2));
    }
}

TEST_CASE_METHOD(Fixture, "messages not settled go back when their connection goes", "[settle]") {
    producer.publish(1, here());
    {
        Connection other{broker_url()};
        Message lost = other.simple_queue(place.queue).get(soon);
        other.release();
        CHECK_THROWS_AS(lost.ack(), Error);
    }
    CHECK(queue().get(soon).redelivered());
}

TEST_CASE_METHOD(Fixture, "a body that cannot be decoded does not keep its message from being settled",
                 "[settle][errors]") {
    auto options = here();
    options.content_type = "application/json";
    producer.publish("{not json", options);
    options.headers = {{"compression", "application/x-gzip"}};
    producer.publish("not zlib", options);
    options.headers = {{"compression", "application/x-unheard-of"}};
    producer.publish("x", options);
    options.headers = Json::object();
    options.content_type = "application/x-python-serialize";
    producer.publish("x", options);
    auto from = queue();
    for (int i = 0; i < 4; ++i) {
        Message message = from.get(soon);
        CHECK_THROWS_AS(message.payload(), Error);
        CHECK_NOTHROW(message.reject());
    }
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Fixture, "an empty queue is Empty, at once or after the timeout", "[queue]") {
    auto from = queue();
    CHECK_THROWS_AS(from.get({.block = false}), Empty);
    CHECK_THROWS_AS(from.get_nowait(), Empty);
    const auto start = Clock::now();
    CHECK_THROWS_AS(from.get({.block = true, .timeout = 60ms}), Empty);
    CHECK(Clock::now() - start >= 60ms);
    CHECK(Clock::now() - start < 5s);
    // And the channel works on.
    from.put(1);
    CHECK(from.get(soon).payload() == 1);
}

TEST_CASE_METHOD(Fixture, "a waiting get is given what comes", "[queue]") {
    auto from = queue();
    std::thread sender{[&] {
        Connection other{broker_url()};
        auto to = other.simple_queue(place.queue);
        to.put("late");
    }};
    Message message = from.get(soon);
    sender.join();
    CHECK(message.payload() == "late");
    message.ack();
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Fixture, "a waiting get does not hold back messages from others", "[queue]") {
    auto from = queue();
    Connection other{broker_url()};
    auto theirs = other.simple_queue(place.queue);
    std::thread sender{[&] {
        Connection third{broker_url()};
        auto to = third.simple_queue(place.queue);
        for (int i = 0; i < 5; ++i) to.put(i);
    }};
    Message mine = from.get(soon);
    sender.join();
    for (int i = 0; i < 4; ++i) CHECK_NOTHROW(theirs.get(soon).ack());
    mine.ack();
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Fixture, "a get waits also while an earlier message is not settled", "[queue]") {
    auto from = queue();
    std::thread sender{[&] {
        Connection other{broker_url()};
        auto to = other.simple_queue(place.queue);
        to.put(1);
        to.put(2);
    }};
    Message first = from.get(soon);
    Message second = from.get(soon);
    sender.join();
    CHECK(first.payload() == 1);
    CHECK(second.payload() == 2);
    first.ack();
    second.ack();
}

TEST_CASE_METHOD(Fixture, "a get without time to wait still gets what is there, and loses nothing", "[queue]") {
    for (int i = 0; i < 4; ++i) producer.publish(i, here());
    auto taking = queue({.no_ack = true});
    CHECK(taking.get({.block = true, .timeout = 0s}).payload() == 0);
    CHECK(taking.get({.block = true, .timeout = 1us}).payload() == 1);
    auto holding = queue();
    Message second = holding.get({.block = true, .timeout = 0s});
    CHECK(second.payload() == 2);
    CHECK(holding.get({.block = false, .timeout = 0s}).payload() == 3);
    CHECK_THROWS_AS(holding.get({.block = true, .timeout = 0s}), Empty);
    CHECK_NOTHROW(second.ack());
}

TEST_CASE("a get that finds nothing in an auto-delete queue disturbs nothing else", "[queue]") {
    Place jobs, replies{"direct", {.auto_delete = true}};
    Connection connection{broker_url()};
    auto from = connection.simple_queue(jobs.queue), answers = connection.simple_queue(replies.queue, {.no_ack = true});
    from.put(1);
    Message job = from.get(soon);
    CHECK_THROWS_AS(answers.get({.block = true, .timeout = 50ms}), Empty);
    CHECK_NOTHROW(job.ack());
    answers.put(2);
    CHECK(answers.get({.block = true, .timeout = 50ms}).payload() == 2);
}

TEST_CASE("an auto-delete queue outlives a get that waits", "[queue]") {
    Place place{"direct", {.auto_delete = true}};
    Connection connection{broker_url()};
    auto queue = connection.simple_queue(place.queue);
    CHECK_THROWS_AS(queue.get({.block = true, .timeout = 30ms}), Empty);
    queue.put(1);
    CHECK(queue.get(soon).payload() == 1);
}

TEST_CASE("an exclusive queue is for its own connection and goes with it", "[queue][errors]") {
    Place place{"direct", {.exclusive = true}};
    Connection other{broker_url()};
    {
        Connection owner{broker_url()};
        auto queue = owner.simple_queue(place.queue);
        queue.put(1);
        CHECK(queue.get(soon).payload() == 1);
        try {
            (void)other.channel().basic_get(place.queue.name());
            FAIL("got from an exclusive queue");
        } catch (const ChannelError& error) {
            CHECK(error.code() == 405);
        }
        owner.release();
    }
    CHECK(eventually([&] {
        try {
            (void)other.channel().queue_declare(Queue(place.queue.name(), {}, {}, {.passive = true}));
            return false;
        } catch (const ChannelError& error) {
            return error.code() == 404;
        }
    }));
}

TEST_CASE_METHOD(Fixture, "a get that waits for a queue that is deleted ends with an error", "[queue][errors]") {
    auto from = queue();
    std::thread deleter{[&] {
        Connection other{broker_url()};
        auto channel = other.channel();
        // Whoever consumes is in the queue by then, or finds it gone; both must end.
        channel.queue_delete(place.queue.name());
    }};
    CHECK_THROWS_AS(from.get(soon), ChannelError);
    deleter.join();
}

TEST_CASE("SimpleQueue puts, counts, gets and clears", "[queue]") {
    Connection connection{broker_url()};
    const std::string name = unique("test.simple");
    auto queue = connection.simple_queue(name, {.serializer = "json", .compression = "zlib"});
    CHECK(queue.qsize() == 0);
    for (int i = 0; i < 3; ++i) queue.put(i);
    CHECK(eventually([&] { return queue.qsize() == 3; }));
    Message first = queue.get(soon);
    CHECK(first.payload() == 0);
    CHECK(first.headers().contains("compression"));
    first.ack();
    CHECK(queue.clear() == 2);
    CHECK(queue.qsize() == 0);
    CHECK(queue.queue().exchange().name() == name);
    connection.channel().queue_delete(name);
    connection.channel().exchange_delete(name);
}

TEST_CASE("a SimpleQueue declares its queue again when it has vanished", "[queue]") {
    Connection connection{broker_url()}, other{broker_url()};
    const std::string name = unique("test.simple");
    connection.simple_queue(name).put(1);
    other.channel().queue_delete(name);
    auto queue = connection.simple_queue(name);
    queue.put(2);
    CHECK(queue.get(soon).payload() == 2);
    connection.channel().queue_delete(name);
    connection.channel().exchange_delete(name);
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

TEST_CASE_METHOD(Fixture, "a message that was moved from says so", "[message]") {
    producer.publish(1, here());
    Message message = queue().get(soon);
    Message other = std::move(message);
    CHECK_THROWS_AS(message.payload(), MessageStateError);
    CHECK_THROWS_AS(message.ack(), MessageStateError);
    CHECK_THROWS_AS(message.acknowledged(), MessageStateError);
    CHECK_NOTHROW(other.ack());
}

TEST_CASE("names that are too long are refused by their field", "[channel]") {
    Connection connection{broker_url()};
    auto channel = connection.channel();
    const std::string longest(256, 'x');
    CHECK_THROWS_AS(channel.queue_purge(longest), ConfigurationError);
    CHECK_THROWS_AS(channel.queue_delete(longest), ConfigurationError);
    CHECK_THROWS_AS(channel.queue_bind("q", "e", longest), ConfigurationError);
    CHECK_THROWS_AS(channel.exchange_delete(longest), ConfigurationError);
    CHECK_THROWS_AS(channel.basic_get(longest), ConfigurationError);
    CHECK(channel.is_open());
}

TEST_CASE("the plain operations of a channel", "[channel]") {
    Place place;
    Connection connection{broker_url()};
    auto channel = connection.channel();
    const auto named = channel.queue_declare(Queue("", {}, {}, {.exclusive = true}));
    CHECK_FALSE(named.name.empty());
    CHECK(named.messages == 0);

    channel.declare(place.queue);
    Producer producer{connection};
    for (int i = 0; i < 3; ++i) producer.publish(i, {.exchange = place.exchange, .routing_key = "key"});
    CHECK(channel.queue_declare(place.queue).messages == 3);
    CHECK(channel.queue_purge(place.queue.name()) == 3);
    channel.queue_unbind(place.queue.name(), place.exchange.name(), "key");
    producer.publish(1, {.exchange = place.exchange, .routing_key = "key"});
    CHECK_FALSE(channel.basic_get(place.queue.name()));
    channel.queue_bind(place.queue.name(), place.exchange.name(), "other");
    producer.publish(2, {.exchange = place.exchange, .routing_key = "other"});
    CHECK(channel.basic_get(place.queue.name(), true)->payload() == 2);
    CHECK(channel.queue_delete(place.queue.name()) == 0);
    CHECK(channel.queue_delete(place.queue.name()) == 0);
    channel.exchange_delete(place.exchange.name());
    CHECK_THROWS_AS(channel.basic_get(place.queue.name()), ChannelError);
    CHECK_FALSE(channel.is_open());
    CHECK_THROWS_AS(channel.basic_get(place.queue.name()), ChannelError);
}

TEST_CASE_METHOD(Fixture, "a queue that is in use or not empty is deleted only when told so", "[channel][errors]") {
    producer.publish(1, here());
    CHECK_THROWS_AS(connection.channel().queue_delete(place.queue.name(), false, true), ChannelError);
    CHECK_THROWS_AS(connection.channel().exchange_delete(place.exchange.name(), true), ChannelError);
    CHECK(connection.channel().queue_delete(place.queue.name()) == 1);
}
