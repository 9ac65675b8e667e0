// SPDX-License-Identifier: BSD-3-Clause
// What Redis stores after a publish, a get, a settle or a declaration.
#include "redis/redis_fixture.hpp"
#include "support/eventually.hpp"

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE("X-wire a message is stored in its queue's list as Kombu writes it", "[redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    const Exchange exchange{"ex"};
    const Queue queue{"q", exchange, "rk"};
    Producer producer{connection};
    producer.publish(Json{{"a", 1}}, {.exchange = exchange, .routing_key = "rk", .declare = {queue}});
    CHECK(redis({"SMEMBERS", "_kombu.binding.ex"}) == Json{"rk" + separator + separator + "q"});
    const std::string item = redis({"LINDEX", "q", "0"});
    const Json envelope = Json::parse(item);
    const std::string tag = envelope["properties"]["delivery_tag"];
    CHECK(tag.size() == 36);
    CHECK(item ==
          R"({"body": "eyJhIjoxfQ==", "content-encoding": "utf-8", "content-type": "application/json", "headers": {}, )"
          R"("properties": {"delivery_mode": 2, "delivery_info": {"exchange": "ex", "routing_key": "rk"}, "priority": )"
          R"(0, "body_encoding": "base64", "delivery_tag": ")" +
              tag + R"("}})");
    producer.publish(2, {.exchange = exchange, .routing_key = "rk"});
    CHECK(Json::parse(redis({"LINDEX", "q", "-1"}).get<std::string>())["properties"]["delivery_tag"] == tag);
}

TEST_CASE("a delivered message is recorded as unacknowledged until it is settled", "[redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    auto queue = connection.simple_queue("q");
    for (int i = 0; i < 4; ++i) queue.put(i);
    const std::string item = redis({"LINDEX", "q", "-1"});
    const std::string tag = Json::parse(item)["properties"]["delivery_tag"];
    Message first = queue.get(soon);
    // The tag is of this delivery only: a former holder cannot settle what others have received since.
    const std::string held = redis({"HKEYS", "unacked"})[0];
    CHECK(held.starts_with(tag + ':'));
    CHECK(redis({"HGET", "unacked", held}) == '[' + item + R"(, "", "q"])");
    const auto since = std::stod(redis({"ZSCORE", "unacked_index", held}).get<std::string>());
    CHECK(std::abs(since - static_cast<double>(std::time(nullptr))) < 5);
    first.ack();
    CHECK(redis.unacked_count() == 0);
    CHECK(redis({"ZCARD", "unacked_index"}) == 0);
    Message second = queue.get(soon);
    second.reject();
    CHECK(redis.unacked_count() == 0);
    CHECK(redis.length("q") == 2);
    Message third = queue.get(soon);
    third.requeue();
    CHECK(redis.unacked_count() == 0);
    const Json again = Json::parse(redis({"LINDEX", "q", "-1"}).get<std::string>());
    CHECK(again["headers"]["redelivered"] == true);
    CHECK(again["properties"]["delivery_info"]["redelivered"] == true);
    CHECK(again["body"] == "Mg==");
    Message fourth = queue.get(soon);
    CHECK(fourth.payload() == 2);
    connection.release();  // requeued, and delivered next
    CHECK(redis.unacked_count() == 0);
    CHECK(redis.length("q") == 2);
    CHECK(Json::parse(redis({"LINDEX", "q", "-1"}).get<std::string>())["body"] == "Mg==");
    auto unrecorded = connection.simple_queue("q", {.no_ack = true});
    CHECK(unrecorded.get(soon).payload() == 2);
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("D60 X10 R1 copies of one message in several queues are settled separately", "[redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    const Exchange exchange{"ex"};
    const Queue a{"a", exchange, "k"}, b{"b", exchange, "k"};
    Producer{connection}.publish(1, {.exchange = exchange, .routing_key = "k", .declare = {a, b}});
    auto from_a = connection.simple_queue(a), from_b = connection.simple_queue(b);
    Message one = from_a.get(soon), other = from_b.get(soon);
    CHECK(redis.unacked_count() == 2);
    one.ack();
    CHECK(redis.unacked_count() == 1);
    other.requeue();  // D61: to its own queue only
    CHECK(redis.length("a") == 0);
    CHECK(redis.length("b") == 1);
    // Kombu gives all copies the same tag; here they are settled separately.
    const std::string item = redis({"RPOP", "b"});
    for (const char* list : {"a", "b"}) redis({"LPUSH", list, item});
    Message third = from_a.get(soon), fourth = from_b.get(soon);
    CHECK(redis.unacked_count() == 2);
    third.ack();
    CHECK(redis.unacked_count() == 1);
    fourth.ack();
    CHECK(redis.unacked_count() == 0);
}

TEST_CASE("R4 X16 priorities go by steps, lower numbers first, and a message is requeued to its own", "[redis]") {
    Prefixed redis;
    for (const Json& steps : {Json{0, 3, 6, 9}, Json{0, 5}}) {
        Connection connection = redis.connection({{"priority_steps", steps}});
        auto queue = connection.simple_queue("q");
        queue.clear();
        for (const int priority : {9, 200, 4, 0, 5}) queue.put(priority, {.priority = priority});
        if (steps.size() == 4) {
            CHECK(redis.length("q") == 1);
            CHECK(redis.length("q" + separator + "3") == 2);
            CHECK(redis.length("q" + separator + "9") == 2);
        } else {
            CHECK(redis.length("q") == 2);
            CHECK(redis.length("q" + separator + "5") == 3);
        }
        CHECK(queue.qsize() == 5);
        Message first = queue.get(soon);
        CHECK(first.payload() == (steps.size() == 4 ? 0 : 4));
        first.ack();
        Message second = queue.get(soon);
        second.requeue();
        CHECK(redis.length(steps.size() == 4 ? "q" + separator + "3" : "q") >= 1);
        CHECK(queue.get(soon).payload() == second.payload());
        connection.release();
        CHECK(queue.clear() == 4);
    }
}

TEST_CASE("R10 sep separates the parts of list names and bindings", "[redis][options]") {
    Prefixed redis;
    Connection connection = redis.connection({{"sep", "::"}});
    const Exchange exchange{"ex", "topic"};
    const Queue queue{"q", exchange, "a.*"};
    Producer{connection}.publish(1, {.exchange = exchange, .routing_key = "a.b", .declare = {queue}, .priority = 6});
    CHECK(redis.length("q::6") == 1);
    CHECK(redis({"SMEMBERS", "_kombu.binding.ex"}) == Json{R"(a.*::^a\..*?[^\.]$::q)"});
    CHECK(connection.simple_queue(queue).get(soon).payload() == 1);
}

TEST_CASE("the keys of unacknowledged messages can be chosen", "[redis][options]") {
    Prefixed redis;
    Connection connection = redis.connection({{"unacked_key", "held"},
                                              {"unacked_index_key", "since"},
                                              {"unacked_mutex_key", "lock"},
                                              {"visibility_timeout", 0.05},
                                              {"unacked_restore_interval", 0.01}});
    auto queue = connection.simple_queue("q");
    queue.put(1);
    Message message = queue.get(soon);
    CHECK(redis({"HLEN", "held"}) == 1);
    CHECK(redis({"ZCARD", "since"}) == 1);
    redis({"SET", "lock", "somebody"});
    std::this_thread::sleep_for(60ms);  // the server's clock measures the visibility timeout
    CHECK_THROWS_AS(queue.get({.timeout = 50ms}), Empty);
    redis({"DEL", "lock"});
    CHECK(queue.get(soon).redelivered());
    CHECK(redis({"EXISTS", "lock"}) == 0);
}

TEST_CASE("R2 without ack_emulation nothing is recorded, and a requeued message is redelivered", "[redis][options]") {
    Prefixed redis;
    Connection connection = redis.connection({{"ack_emulation", false}});
    auto queue = connection.simple_queue("q");
    queue.put(1);
    Message message = queue.get(soon);
    CHECK(redis.unacked_count() == 0);
    message.requeue();
    Message again = queue.get(soon);
    CHECK(again.redelivered());
    again.ack();
    queue.put(2);
    Message lost = queue.get(soon);
    connection.release();
    CHECK(redis.length("q") == 1);
}

TEST_CASE("without body_encoding bodies are stored as text, and must be text", "[redis][options]") {
    Prefixed redis;
    Connection connection = redis.connection({{"body_encoding", nullptr}});
    auto queue = connection.simple_queue("q");
    queue.put(Json{{"a", "ü"}});
    const Json envelope = Json::parse(redis({"LINDEX", "q", "0"}).get<std::string>());
    CHECK(envelope["body"] == R"({"a":"ü"})");
    CHECK(envelope["properties"]["body_encoding"] == nullptr);
    CHECK(queue.get(soon).payload() == Json{{"a", "ü"}});
    CHECK_THROWS_AS(queue.put(std::vector<std::byte>{std::byte{255}}), EncodeError);
    CHECK(redis.length("q") == 0);
    Producer producer{connection};
    Batch batch = producer.batch();
    batch.publish("fine", {.routing_key = "q"});
    batch.publish(std::vector<std::byte>{std::byte{255}}, {.routing_key = "q"});
    batch.publish("fine too", {.routing_key = "q"});
    try {
        batch.commit(5s);
        FAIL("committed");
    } catch (const BatchError& error) {
        REQUIRE(error.failures().size() == 1);
        CHECK(error.failures()[0].index == 1);
        CHECK_THROWS_AS(std::rethrow_exception(error.failures()[0].error), EncodeError);
    }
    CHECK(redis.length("q") == 2);
    CHECK(queue.clear() == 2);
    queue.put("and on");
    CHECK(queue.get(soon).payload() == "and on");
}

TEST_CASE("X14 an unroutable message goes to deadletter_queue when that is set", "[redis][options]") {
    Prefixed redis;
    for (const char* type : {"direct", "topic"}) {
        Connection connection = redis.connection({{"deadletter_queue", "dead"}});
        Producer producer{connection};
        const Exchange exchange{std::string{"ex."} + type, type};
        const LogCapture logged;
        producer.publish(1, {.exchange = exchange, .routing_key = "nobody", .declare = {exchange}, .mandatory = true});
        CHECK_THAT(logged.text(), Contains("dead") && Contains("nobody"));
        CHECK(connection.simple_queue("dead").get(soon).payload() == 1);
    }
}

TEST_CASE("R11 the lists of a queue with expires have its time to live", "[redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    const Exchange exchange{"ex"};
    const Queue queue{"q", exchange, "k", {.expires = 100s}};
    Producer producer{connection};
    producer.publish(1, {.exchange = exchange, .routing_key = "k", .declare = {queue}, .priority = 3});
    const auto left = redis({"PTTL", "q" + separator + "3"}).get<int>();
    CHECK(left > 90'000);
    CHECK(left <= 100'000);
    Batch batch = producer.batch();
    for (int i = 0; i < 3; ++i) batch.publish(i, {.exchange = exchange, .routing_key = "k"});
    batch.commit(5s);
    CHECK(redis.length("q") == 3);
    CHECK(redis({"PTTL", "q"}).get<int>() > 90'000);
}

TEST_CASE("a poison message is quarantined with an error, and the next one is delivered", "[redis][errors]") {
    Prefixed redis;
    const std::vector<std::string> poison{
        "not json",
        "",
        "[1]",
        "{}",
        R"({"body": "eA==", "headers": {}})",
        R"({"body": "eA==", "properties": {"delivery_tag": "t"}})",
        R"({"body": "eA==", "properties": {"delivery_tag": "t", "delivery_info": {"exchange": ""}}})",
        R"({"properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}}})",
        R"({"body": "eA==", "properties": {"delivery_info": {"exchange": "", "routing_key": "q"}}})",
        std::string{"\xff\xfe"},
        // Only the client rejects these: Lua's JSON parser accepts them.
        R"({"body": "\ud800", "x": 0x10, "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "",)"
        R"( "routing_key": "q"}}})",
        "{\"body\": \"\xff\", \"properties\": {\"delivery_tag\": \"u\", \"delivery_info\": {\"exchange\": \"\", "
        "\"routing_key\": \"q\"}}}",
    };
    for (const bool no_ack : {false, true}) {
        Connection connection = redis.connection();
        auto queue = connection.simple_queue("q", {.no_ack = no_ack});
        const LogCapture logged;
        for (const std::string& each : poison) redis({"LPUSH", "q", each});
        queue.put("good");
        CHECK(queue.get(soon).payload() == "good");
        CHECK_THAT(logged.text(), Contains("moved to the list") && Contains("_kombu.poison.q"));
        CHECK(redis.length("_kombu.poison.q") == poison.size());
        CHECK(redis.length("q") == 0);
        CHECK(redis.unacked_count() == (no_ack ? 0 : 1));
        std::vector<std::string> quarantined;
        for (const Json& each : redis({"LRANGE", "_kombu.poison.q", "0", "-1"})) quarantined.push_back(each);
        for (const std::string& each : poison)
            CHECK(std::find(quarantined.begin(), quarantined.end(), each) != quarantined.end());
        redis({"DEL", "_kombu.poison.q"});
        connection.release();
        CHECK(queue.clear() == (no_ack ? 0 : 1));
    }
    // More than one step quarantines.
    for (int i = 0; i < 250; ++i) redis({"LPUSH", "q", "x"});
    Connection connection = redis.connection();
    auto queue = connection.simple_queue("q");
    queue.put("good");
    CHECK(queue.get(soon).payload() == "good");
    CHECK(redis.length("_kombu.poison.q") == 250);
}

TEST_CASE("a key that is not a list is a ChannelError", "[redis][errors]") {
    Prefixed redis;
    redis({"SET", "q", "x"});
    Connection connection = redis.connection();
    Producer producer{connection};
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q"}), ChannelError);
    CHECK(connection.connected());
    Batch batch = producer.batch();
    batch.publish(1, {.routing_key = "q"});
    batch.publish(2, {.routing_key = "fine"});
    CHECK_THROWS_AS(batch.commit(5s), BatchError);
    CHECK(batch.size() == 1);
    CHECK(redis.length("fine") == 1);
}

TEST_CASE("deleting a queue unbinds it from exchanges that others bound it to", "[redis]") {
    Prefixed redis;
    Connection connection = redis.connection(), other = redis.connection();
    const Exchange exchange{"ex", "topic"};
    connection.default_channel().declare(Queue{"q*", exchange, "a.#", {.bindings = {{Exchange{"ex2"}, "k"}}}});
    connection.default_channel().declare(Queue{"q", exchange, "a.#"});
    connection.simple_queue("q*").put(1);
    CHECK(other.default_channel().queue_declare(Queue("q*", {}, {}, {.passive = true})).messages == 1);
    CHECK(other.default_channel().queue_delete("q*") == 1);
    CHECK(redis({"SCARD", "_kombu.binding.ex"}) == 1);
    CHECK(redis({"EXISTS", "_kombu.binding.ex2"}) == 0);
    CHECK_THROWS_AS(other.default_channel().queue_declare(Queue("q*", {}, {}, {.passive = true})), ChannelError);
}

TEST_CASE("a binding that another session adds counts for the very next message", "[redis][bindings]") {
    Prefixed redis;
    Connection publisher = redis.connection(), binder = redis.connection();
    const Exchange exchange{"ex"};
    Producer producer{publisher};
    producer.maybe_declare(Queue{"q0", exchange, "k"});
    auto channel = binder.default_channel();
    for (int i = 1; i <= 100; ++i) {
        const std::string name = "q" + std::to_string(i);
        producer.publish(i, {.exchange = exchange, .routing_key = "k"});  // the binding cache is current
        channel.queue_bind(name, "ex", "k");
        if (i % 2 == 0) {
            producer.publish(i, {.exchange = exchange, .routing_key = "k"});
        } else {
            Batch batch = producer.batch();
            batch.publish(i, {.exchange = exchange, .routing_key = "k"});
            batch.commit(5s);
        }
        REQUIRE(redis.length(name) == 1);
        REQUIRE(redis.length("q0") == static_cast<std::size_t>(2 * i));
        // A binding that it removes no longer counts.
        producer.publish(i, {.exchange = exchange, .routing_key = "k"});
        channel.queue_unbind(name, "ex", "k");
        producer.publish(i, {.exchange = exchange, .routing_key = "k"});
        REQUIRE(redis.length(name) == 2);
        redis({"DEL", name});
        redis({"LTRIM", "q0", "0", std::to_string(2 * i - 1)});
    }
}

TEST_CASE("messages with properties of their own go where their exchange, key and priority say", "[redis][bindings]") {
    Prefixed redis;
    Connection connection = redis.connection(), other = redis.connection();
    const Exchange exchange{"ex"};
    const Queue a{"a", exchange, "k"}, b{"b", exchange, "k"}, c{"c", exchange, "other"};
    Producer producer{connection};
    const auto send = [&](int id, PublishOptions options) {
        options.exchange = exchange;
        options.message_id = std::to_string(id);
        options.headers = {{"id", id}};
        producer.publish(id, options);
    };
    send(0, {.routing_key = "k", .declare = {a, c}});
    for (int id = 1; id < 4; ++id) send(id, {.routing_key = "k"});
    send(4, {.routing_key = "other"});
    send(5, {.routing_key = "k", .priority = 9});
    CHECK_THROWS_AS(send(6, {.routing_key = "nowhere", .mandatory = true}), Unroutable);
    CHECK_NOTHROW(send(6, {.routing_key = "nowhere"}));
    other.default_channel().queue_declare(b);
    other.default_channel().queue_bind("b", "ex", "k");
    send(7, {.routing_key = "k"});
    Batch batch = producer.batch();
    for (int id = 8; id < 11; ++id)
        batch.publish(id, {.exchange = exchange, .routing_key = "k", .message_id = std::to_string(id)});
    batch.commit();

    const auto ids = [&](const std::string& list) {
        std::string all;
        for (const Json& item : redis({"LRANGE", list, "0", "-1"})) {
            const Json envelope = Json::parse(item.get<std::string>());
            const std::string id = envelope["properties"]["message_id"];
            CHECK((envelope["headers"].empty() || envelope["headers"]["id"] == std::stoi(id)));
            all = id + ' ' + all;
        }
        return all;
    };
    CHECK(ids("a") == "0 1 2 3 7 8 9 10 ");
    CHECK(ids("b") == "7 8 9 10 ");
    CHECK(ids("c") == "4 ");
    CHECK(redis.length("a" + separator + "9") == 1);
}

TEST_CASE("an undeclared exchange is routed by its bindings in Redis", "[redis][bindings]") {
    Prefixed redis;
    Connection declarer = redis.connection(), publisher = redis.connection();
    declarer.default_channel().declare(Queue{"q", Exchange{"ex", "topic"}, "a.*"});
    Producer producer{publisher};
    producer.publish(1, {.exchange = "ex", .routing_key = "a.b"});  // by its name alone
    CHECK(redis.length("q") == 1);
    CHECK_THROWS_AS(producer.publish(2, {.exchange = "ex", .routing_key = "a.b.c", .mandatory = true}), Unroutable);
    CHECK(redis.length("q") == 1);
}

TEST_CASE("a connection has a second socket only once it waits or listens", "[redis]") {
    Prefixed redis;
    const std::string name = unique("client");
    const auto sockets = [&] {
        const std::string clients = redis.raw({"CLIENT", "LIST"});
        std::size_t count = 0;
        for (std::size_t at = clients.find("name=" + name); at != std::string::npos;
             at = clients.find("name=" + name, at + 1))
            ++count;
        return count;
    };
    Connection connection = redis.connection({{"client_name", name}});
    auto queue = connection.simple_queue("q");
    queue.put(1);
    queue.get(soon).ack();
    CHECK_THROWS_AS(queue.get({.block = false}), Empty);
    CHECK(sockets() == 1);
    CHECK_THROWS_AS(queue.get({.timeout = 30ms}), Empty);
    CHECK(sockets() == 2);
    queue.put(1);
    queue.get(soon).ack();
    CHECK_THROWS_AS(queue.get({.timeout = 30ms}), Empty);
    CHECK(sockets() == 2);
    connection.release();
    CHECK(eventually([&] { return sockets() == 0; }));
    Connection listener = redis.connection({{"client_name", name}});
    auto fanout = listener.simple_queue(Queue{"f", Exchange{"fan", "fanout"}});
    CHECK(sockets() == 2);
}

TEST_CASE("scripts that the server has forgotten are sent again", "[redis]") {
    Prefixed redis;
    Connection connection = redis.connection();
    auto queue = connection.simple_queue("q");
    for (int i = 0; i < 3; ++i) queue.put(i);
    queue.get(soon).ack();
    redis.raw({"SCRIPT", "FLUSH"});
    Message second = queue.get(soon);
    redis.raw({"SCRIPT", "FLUSH"});
    second.requeue();
    CHECK(queue.get(soon).payload() == 1);
}

TEST_CASE("a message that would be poison cannot be published", "[redis][errors]") {
    Prefixed redis;
    Connection connection = redis.connection();
    Producer producer{connection};
    for (const char* text : {"\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
        CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .headers = {{"h", text}}}), EncodeError);
        CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .correlation_id = text}), ConfigurationError);
    }
    Json deep = 1;
    for (int i = 0; i < 300; ++i) deep = Json{{"d", deep}};
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .headers = deep}), EncodeError);
    CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .headers = {{"h", Json::binary({1})}}}), EncodeError);
    const std::string large(200u << 20, 'x');
    CHECK_THROWS_AS(producer.publish(std::as_bytes(std::span{large}), {.routing_key = "q"}), EncodeError);
    CHECK(redis.length("q") == 0);
    CHECK(connection.connected());
}

TEST_CASE("X13 exchanges cannot be bound to exchanges on Redis", "[redis][errors]") {
    Prefixed redis;
    Connection connection = redis.connection();
    auto channel = connection.channel();
    try {
        channel.exchange_bind("to", "from", "key");
        FAIL("it was accepted");
    } catch (const ChannelError& error) {
        CHECK(error.code() == 540);
    }
    CHECK_FALSE(channel.is_open());
    CHECK(connection.connected());
}
