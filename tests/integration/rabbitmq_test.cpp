// SPDX-License-Identifier: BSD-3-Clause
// Tests that need a real RabbitMQ.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"
#include "support/rabbitmq_node.hpp"

#include <cstddef>
#include <future>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

std::string url_with(const std::string& userid, const std::string& password, const std::string& virtual_host) {
    const Connection tests{broker_url()};
    return Connection{"amqp://",
                      {.userid = userid, .password = password, .virtual_host = virtual_host, .port = tests.port()}}
        .as_uri(ShowPassword::yes);
}

std::string connect_error(const std::string& url, int code) {
    try {
        Connection{url}.connect();
    } catch (const ConnectionError& error) {
        CHECK(error.code() == code);
        CHECK_FALSE(error.is_retryable());
        return error.what();
    }
    return "connected";
}

}  // namespace

TEST_CASE("a wrong password is refused with the broker's code and without showing it", "[rabbitmq][errors]") {
    const std::string error = connect_error(url_with("kombu", "wr0ng", "tests"), 403);
    CHECK_THAT(error, Contains("ACCESS_REFUSED") && !Contains("wr0ng"));
    CHECK_THROWS_AS(Connection{url_with("kombu", "wr0ng", "tests")}.connect(), AuthenticationError);
    CHECK_THROWS_AS(Connection{url_with("nobody", "wr0ng", "tests")}.connect(), AuthenticationError);
}

TEST_CASE("a broker that repeats channel.close costs the channel, not the connection", "[rabbitmq][errors]") {
    // RabbitMQ does so after its consumer_timeout while nobody reads, at each tick of the channel.
    in_broker(
        "application:set_env(rabbit, consumer_timeout, 500), application:set_env(rabbit, channel_tick_interval, 200)");
    Connection connection{broker_url()};
    const std::string name = unique("unacknowledged");
    {
        auto queue = connection.simple_queue(name);
        queue.put("x");
        Message message = queue.get({.timeout = 10s});
        std::this_thread::sleep_for(3s);
        CHECK_THROWS_AS(message.ack(), ChannelError);
    }
    in_broker(
        "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, "
        "60000)");
    CHECK(connection.connected());
    for (int i = 0; i < 5; ++i) CHECK_NOTHROW(connection.simple_queue(name).qsize());
    CHECK(connection.connected());
    connection.default_channel().queue_delete(name);
    connection.default_channel().exchange_delete(name);
}

TEST_CASE("a large message to an exchange that does not exist costs the channel, not the connection",
          "[rabbitmq][errors]") {
    const std::string large(std::size_t{64} << 20, 'x');
    const bool confirms = GENERATE(true, false);
    Connection connection{broker_url(), {.transport_options = {{"confirm_publish", confirms}}}};
    Producer producer{connection};
    connection.connect();
    const auto is_refused = [&](std::string_view body, const PublishOptions& options) {
        try {
            producer.publish(body, options);
            return false;
        } catch (const ChannelError&) {
            return true;
        }
    };
    // Without confirms the error may come with a later message.
    CHECK((is_refused(large, {.exchange = Exchange{unique("missing")}, .content_type = "text/plain"}) ||
           eventually([&] { return is_refused("next", {.routing_key = "nobody"}); })));
    CHECK(connection.connected());
    CHECK_NOTHROW(producer.publish("after", {.routing_key = "nobody"}));
    CHECK(connection.connected());
}

TEST_CASE("a message of many frames arrives as it was sent", "[rabbitmq]") {
    std::string large;
    for (int i = 0; large.size() < (std::size_t{20} << 20); ++i) large += std::to_string(i) + ' ';
    Connection connection{broker_url()};
    auto queue = connection.simple_queue(unique("frames"));
    for (const std::size_t size : {std::size_t{131063}, std::size_t{131064}, std::size_t{131065}, large.size()}) {
        queue.put(large.substr(0, size));
        const Message message = queue.get({.timeout = 30s});
        CHECK(message.raw_body() == large.substr(0, size));
        queue.clear();
    }
}

TEST_CASE("a user who may not use the virtual host is refused by its name", "[rabbitmq][errors]") {
    in_broker("catch rabbit_auth_backend_internal:add_user(<<\"guest-of-none\">>, <<\"secret\">>, <<\"tests\">>)");
    try {
        Connection{url_with("guest-of-none", "secret", "tests")}.connect();
        FAIL("let in");
    } catch (const AuthenticationError& error) {
        CHECK_THAT(error.what(), Contains("vhost 'tests'") && Contains("guest-of-none"));
    }
}

TEST_CASE("a stream is not read by get(), which would cost the connection", "[rabbitmq][errors]") {
    Connection connection{broker_url()};
    const Queue stream{unique("stream"), {.queue_arguments = {{"x-queue-type", "stream"}}}};
    auto queue = connection.simple_queue(stream);
    queue.put("x");
    CHECK_THROWS_WITH(queue.get(1s), Contains("stream"));
    CHECK_THROWS_AS(queue.get_nowait(), ConfigurationError);
    CHECK(connection.connected());
    connection.default_channel().queue_delete(stream.name());
}

TEST_CASE("returned messages that differ only in their headers are told apart", "[rabbitmq][batch]") {
    Connection connection{broker_url()};
    const Exchange exchange{unique("test.headers"), "headers", {.auto_delete = true}};
    const Queue queue{
        unique("test.queue"), exchange, "", {.binding_arguments = {{"x-match", "all"}, {"routed", true}}}};
    Producer producer{connection};
    producer.maybe_declare(queue);
    Batch batch = producer.batch();
    for (int i = 0; i < 500; ++i)
        batch.publish("body", {.exchange = exchange, .headers = {{"routed", i % 2 == 1}}, .mandatory = true});
    std::vector<std::size_t> failed;
    try {
        batch.commit(10s);
    } catch (const BatchError& error) {
        for (const auto& failure : error.failures()) failed.push_back(failure.index);
    }
    connection.default_channel().queue_delete(queue.name());
    REQUIRE(failed.size() == 250);
    for (std::size_t i = 0; i < failed.size(); ++i) CHECK(failed[i] == 2 * i);
}

TEST_CASE("after a failover the accessors name the endpoint in use", "[rabbitmq]") {
    const Connection tests{broker_url()};
    Connection connection{"amqp://kombu:kombu-secret@127.0.0.1:1/tests;" + tests.as_uri(ShowPassword::yes)};
    CHECK(connection.port() == 1);
    connection.connect();
    CHECK(connection.port() == tests.port());
    CHECK(connection.hostname() == tests.hostname());
    CHECK_THAT(connection.as_uri(),
               Catch::Matchers::StartsWith(tests.as_uri()) && Contains(";amqp://kombu:**@127.0.0.1:1"));
    CHECK(Connection{connection.as_uri(ShowPassword::yes)}.connect().connected());
}

TEST_CASE("an unknown virtual host is refused with the broker's code", "[rabbitmq][errors]") {
    CHECK_THAT(connect_error(url_with("kombu", "kombu-secret", "no-such-vhost"), 530), Contains("no-such-vhost"));
}

TEST_CASE("passwords and virtual hosts with special characters arrive as they are", "[rabbitmq]") {
    in_broker("catch rabbit_auth_backend_internal:add_user(<<\"us@er\">>, <<\"p:/@ %;#\">>, <<\"tests\">>)");
    in_broker("catch rabbit_vhost:add(<<\"a/b c\">>, <<\"tests\">>)");
    in_broker(
        "rabbit_auth_backend_internal:set_permissions(<<\"us@er\">>, <<\"a/b c\">>, <<\".*\">>, <<\".*\">>, "
        "<<\".*\">>, <<\"tests\">>)");
    Connection connection{url_with("us@er", "p:/@ %;#", "a/b c")};
    CHECK(connection.connect().connected());
}

TEST_CASE("a password function is asked at each connect", "[rabbitmq]") {
    int asked = 0;
    Connection connection{url_with("kombu", "x", "tests"), {.password = Password::Source{[&] {
                                                                ++asked;
                                                                return std::string{"kombu-secret"};
                                                            }}}};
    connection.connect();
    connection.release();
    connection.connect();
    CHECK(asked == 2);
}

TEST_CASE("a full queue that rejects is Nacked, and retried when asked to", "[rabbitmq][confirms]") {
    Topology topology{"direct", {.queue_arguments = {{"x-overflow", "reject-publish"}}, .max_length = 1}};
    Connection connection{broker_url()};
    Producer producer{connection};
    const PublishOptions to_queue{.exchange = topology.exchange, .routing_key = "key", .declare = {topology.queue}};
    producer.publish(1, to_queue);
    CHECK_THROWS_AS(producer.publish(2, to_queue), Nacked);
    auto again = to_queue;
    again.retry = true;
    again.retry_policy = {.max_retries = 2, .interval_step = 10ms};
    CHECK_THROWS_AS(producer.publish(2, again), Nacked);
    connection.simple_queue(topology.queue).get(soon).ack();
    CHECK_NOTHROW(producer.publish(3, again));
}

TEST_CASE("a connection that the broker closed is not handed out again", "[rabbitmq][pools]") {
    pools::ConnectionPool pool{Connection{broker_url()}, {.limit = 1}};
    pool.acquire()->connect();
    REQUIRE(pool.stats().idle == 1);
    close_connections();
    CHECK(eventually([&] {
        auto lease = pool.acquire();
        return !lease->connected();
    }));
    auto lease = pool.acquire();
    CHECK_NOTHROW(lease->connect().default_channel());
}

TEST_CASE("a connection that the broker closes in use is a ConnectionError, and is discarded",
          "[rabbitmq][pools][errors]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    {
        auto producer = producers[broker].acquire();
        producer->publish(1, {.routing_key = unique("nobody")});
        close_connections();
        bool failed = false;
        for (int i = 0; i < 100 && !failed; ++i) {
            try {
                producer->publish(2, {.routing_key = unique("nobody")});
            } catch (const ConnectionError& error) {
                CHECK(error.is_retryable());
                failed = true;
            }
        }
        CHECK(failed);
    }
    CHECK(connections[broker].stats().discarded == 1);
    CHECK_NOTHROW(producers[broker].acquire()->publish(3, {.routing_key = unique("nobody")}));
}

TEST_CASE("a publish with retry succeeds although the broker closes its connection", "[rabbitmq]") {
    Connection connection{broker_url()};
    Producer producer{connection};
    producer.publish(1, {.routing_key = unique("nobody")});
    close_connections();
    for (int i = 0; i < 20; ++i) CHECK_NOTHROW(producer.publish(2, {.routing_key = unique("nobody"), .retry = true}));
}

namespace {

struct MemoryAlarm {
    MemoryAlarm() { in_broker("rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []})"); }
    MemoryAlarm(const MemoryAlarm&) = delete;
    MemoryAlarm& operator=(const MemoryAlarm&) = delete;
    ~MemoryAlarm() { in_broker("rabbit_alarm:clear_alarm({resource_limit, memory, node()})"); }
};

}  // namespace

TEST_CASE("a memory alarm makes publishing time out, and ends", "[rabbitmq][blocked]") {
    Connection connection{broker_url()};
    Producer producer{connection};
    const PublishOptions nobody{.routing_key = unique("nobody"), .timeout = 500ms};
    producer.publish(1, nobody);
    {
        const MemoryAlarm alarm;
        try {
            producer.publish(2, nobody);
            FAIL("published under a memory alarm");
        } catch (const Timeout& error) {
            CHECK_THAT(error.what(), Contains("blocked"));
            CHECK_FALSE(error.poisons_connection());
        }
        CHECK(connection.connected());
    }
    CHECK(eventually([&] {
        try {
            producer.publish(3, nobody);
            return true;
        } catch (const Timeout&) {
            return false;
        }
    }));
}

TEST_CASE("under a memory alarm every timeout says so, and the pool keeps its connection", "[rabbitmq][blocked]") {
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{broker_url()};
    Topology topology{"direct"};
    const auto blocked = [](auto call) {
        try {
            call();
            return std::string{"the call succeeded"};
        } catch (const Timeout& error) {
            return std::string{error.what()};
        }
    };
    const PublishOptions nobody{.routing_key = unique("nobody"), .timeout = 200ms};
    producers[broker].acquire()->publish(1, nobody);
    Connection own{broker_url()};
    Channel channel = own.default_channel();
    SimpleQueue queue = own.simple_queue(topology.queue);
    Connection unconfirmed{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    Producer{unconfirmed}.publish(1, nobody);
    {
        const MemoryAlarm alarm;
        // The broker says that it is blocked when it reads a message.
        Producer{unconfirmed}.publish(1, nobody);
        CHECK(
            eventually([&] { return !blocked([&] { Producer{unconfirmed}.publish(1, nobody); }).starts_with("the"); }));
        for (int i = 0; i < 4; ++i)
            CHECK_THAT(blocked([&] { producers[broker].acquire()->publish(2, nobody); }), Contains("blocked"));
        CHECK_THAT(blocked([&] { Producer{own}.publish(2, nobody); }), Contains("blocked"));
        CHECK_THAT(blocked([&] { channel.declare(topology.queue, 200ms); }), Contains("blocked"));
        CHECK_THAT(blocked([&] { (void)channel.basic_get(topology.queue.name(), false, {}, 200ms); }),
                   Contains("blocked"));
        const auto begin = Clock::now();
        CHECK_THAT(blocked([&] { (void)queue.get({.timeout = 200ms}); }), Contains("blocked"));
        CHECK(Clock::now() - begin < 3s);
        CHECK_THAT(blocked([&] { Producer{unconfirmed}.publish(std::string(1'000'000, 'x'), nobody); }),
                   Contains("blocked"));
        CHECK(own.connected());
    }
    CHECK(eventually([&] {
        try {
            producers[broker].acquire()->publish(3, nobody);
            return true;
        } catch (const Timeout&) {
            return false;
        }
    }));
    CHECK(connections[broker].stats().connections_lost == 0);
    CHECK(connections[broker].stats().connect.total() == 1);
}

TEST_CASE("ChannelLimitExceeded when the broker allows no more channels", "[rabbitmq][channel]") {
    Connection connection{broker_url()};
    std::vector<Channel> channels;
    CHECK_THROWS_AS(
        [&] {
            for (int i = 0; i < 3000; ++i) channels.push_back(connection.channel());
        }(),
        ChannelLimitExceeded);
    CHECK(channels.size() == 2047);
    channels.back().close();
    CHECK_NOTHROW(connection.channel());
}

TEST_CASE("with heartbeats, idle and waiting connections survive three silent intervals", "[rabbitmq]") {
    const std::string url = broker_url() + "?heartbeat=1";
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    const Connection broker{url};
    const Queue queue{unique("heartbeat"), {}, {}, {.exclusive = true}};
    auto waiting = connections[broker].acquire();
    connections[broker].acquire()->default_channel();
    SimpleQueue own = waiting->simple_queue(queue);
    CHECK_THROWS_AS(own.get({.timeout = 3500ms}), Empty);
    producers[broker].acquire()->publish("text", {.routing_key = queue.name()});
    CHECK(own.get({.timeout = 10s}).payload() == Json("text"));
    CHECK(connections[broker].stats().created == 2);
    CHECK(connections[broker].stats().connect.total() == 2);
}

TEST_CASE("ack of a message whose connection the broker has closed is a ConnectionError", "[rabbitmq][errors]") {
    Topology topology{"direct"};
    Connection connection{broker_url()};
    auto from = connection.simple_queue(topology.queue);
    from.put(1);
    from.put(2);
    Message first = from.get(soon), second = from.get(soon);
    close_connections();
    CHECK_THROWS_AS(first.ack(), ConnectionError);
    CHECK_THROWS_AS(second.reject(), ConnectionError);
    auto again = connection.simple_queue(topology.queue);
    CHECK(again.get(soon).payload() == 1);
}

namespace {

/// A virtual host that allows this many connections.
std::string limited_virtual_host(int connections) {
    const std::string name = unique("limited");
    in_broker("catch rabbit_vhost:add(<<\"" + name + "\">>, <<\"tests\">>)");
    in_broker("rabbit_auth_backend_internal:set_permissions(<<\"kombu\">>, <<\"" + name +
              "\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>)");
    in_broker("rabbit_vhost_limit:parse_set(<<\"" + name +
              "\">>, <<\"{\\\"max-connections\\\": " + std::to_string(connections) + "}\">>, <<\"tests\">>)");
    return url_with("kombu", "kombu-secret", name);
}

}  // namespace

TEST_CASE("a connection beyond the broker's limit is not preferred to those that work", "[rabbitmq][pools]") {
    const Connection broker{limited_virtual_host(1)};
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    const PublishOptions nobody{.routing_key = unique("nobody")};
    {
        auto works = producers[broker].acquire();
        works->publish(1, nobody);
        auto refused = producers[broker].acquire();
        try {
            refused->publish(2, nobody);
            FAIL("connected beyond the limit");
        } catch (const ConnectionError& error) {
            CHECK(error.code() == 530);
            CHECK(error.is_retryable());
        }
        works.release();
    }
    for (int i = 0; i < 20; ++i) CHECK_NOTHROW(producers[broker].acquire()->publish(3, nobody));
}

TEST_CASE("a publish with retry waits for a connection that the broker's limit refuses at first", "[rabbitmq][pools]") {
    const std::string url = limited_virtual_host(1);
    Connection first{url};
    first.connect();
    auto publishing = std::async(std::launch::async, [&] {
        Connection second{url};
        Producer{second}.publish(1, {.routing_key = unique("nobody"),
                                     .retry = true,
                                     .retry_policy = {.max_retries = std::nullopt, .interval_max = 100ms},
                                     .timeout = 20s});
    });
    CHECK(publishing.wait_for(300ms) == std::future_status::timeout);
    first.release();
    CHECK_NOTHROW(publishing.get());
}

TEST_CASE("a settlement on a channel that the broker has closed is a ChannelError, and the connection stays",
          "[rabbitmq][errors]") {
    Topology topology{"direct"};
    Connection connection{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    Producer producer{connection};
    for (const bool acknowledges : {true, false}) {
        auto queue = connection.simple_queue(topology.queue);
        queue.put(1);
        Message message = queue.get(soon);
        producer.publish(2, {.exchange = Exchange{"no such exchange"}, .routing_key = "key"});
        in_broker("ok");  // takes longer than the close of the channel
        CHECK_THROWS_AS(acknowledges ? message.ack() : message.reject(), ChannelError);
        CHECK(connection.connected());
        queue.clear();
    }
}
