// SPDX-License-Identifier: BSD-3-Clause
// Waiting for messages: by notices of the server on a second socket, or by looking at the queue where there are none.
#include "redis/redis_fixture.hpp"
#include "support/private_redis.hpp"
#include "support/scripted_redis.hpp"

#include <atomic>
#include <map>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// So long that only a notice ends a wait.
const Json rare_looks = {{"polling_interval", 3600}};

Connection connect_to(const PrivateRedis& redis, Json options = Json::object()) {
    return Connection{redis.url(), {.transport_options = std::move(options)}};
}

/// Waits until a client waits for messages, which has subscribed to the notices.
void await_subscriber(RawRedis& raw) {
    while (raw({"PUBSUB", "NUMSUB", "_kombu.waiting.q"}).at(1) == 0) std::this_thread::yield();
}

std::int64_t calls(RawRedis& raw, const std::string& command) {
    const std::string statistics = raw({"INFO", "commandstats"});
    const std::size_t at = statistics.find("cmdstat_" + command + ":calls=");
    return at == std::string::npos ? 0 : std::atoll(statistics.c_str() + at + command.size() + 15);
}

}  // namespace

TEST_CASE("a waiting consumer is told of a message, of any priority", "[redis][waiting]") {
    Prefixed redis;
    Connection consumer = redis.connection(rare_looks), publisher = redis.connection();
    auto queue = consumer.simple_queue("q");
    Producer producer{publisher};
    for (const int priority : {0, 9, 3, 0}) {
        std::thread sender{[&] {
            while (redis.raw({"PUBSUB", "NUMSUB", redis.prefix + "_kombu.waiting.q"}).at(1) == 0)
                std::this_thread::yield();
            producer.publish(priority, {.routing_key = "q", .priority = priority});
        }};
        Message message = queue.get({.timeout = 20s});
        CHECK(message.payload() == priority);
        message.ack();
        sender.join();
    }
}

TEST_CASE("a consumer sees what its own connection publishes after a wait", "[redis][waiting]") {
    Prefixed redis;
    Connection connection = redis.connection(rare_looks);
    auto queue = connection.simple_queue("q"), other = connection.simple_queue("other");
    for (int i = 0; i < 3; ++i) {
        CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
        queue.put(i);
        CHECK(queue.get({.timeout = 20s}).payload() == i);
        // Waiting for another queue does not hide what happens to the first.
        CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
        CHECK_THROWS_AS(other.get({.timeout = 20ms}), Empty);
        redis({"RPUSH", "q", "poison"});
        CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
        CHECK(redis.length("_kombu.poison.q") == static_cast<std::size_t>(i + 1));
        queue.put(i);
        Message message = queue.get({.timeout = 20s});
        CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
        message.requeue();
        CHECK(queue.get({.timeout = 20s}).redelivered());
    }
}

TEST_CASE("the connection is broken when either of its sockets is, and says why", "[redis][waiting]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    for (const bool kill_subscriber : {true, false}) {
        INFO(kill_subscriber);
        Connection connection = connect_to(redis, {{"polling_interval", 0.1}});
        auto queue = connection.simple_queue("q");
        std::thread killer{[&] {
            await_subscriber(raw);
            if (kill_subscriber)
                raw({"CLIENT", "KILL", "TYPE", "pubsub"});
            else
                raw({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
        }};
        const auto start = Clock::now();
        try {
            (void)queue.get({.timeout = 20s});
            FAIL("received");
        } catch (const ConnectionError& error) {
            CHECK_THAT(error.what(), Contains("closed"));
        }
        CHECK(Clock::now() - start < 5s);
        killer.join();
        CHECK_FALSE(connection.connected());
        CHECK_THROWS_AS(queue.get({.block = false}), Empty);  // connects again
    }
    // A pool notices it before it hands the connection out.
    pools::ConnectionPool pool{connect_to(redis), {.limit = 1}};
    {
        auto lease = pool.acquire();
        auto queue = lease->simple_queue("q");
        // A call whose time is over before it begins does not open the second socket.
        CHECK(eventually([&] {
            CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty);
            return !std::string{raw({"CLIENT", "LIST", "TYPE", "pubsub"})}.empty();
        }));
    }
    raw({"CLIENT", "KILL", "TYPE", "pubsub"});
    CHECK_FALSE(pool.acquire()->connected());
}

TEST_CASE("without a second socket the queue is polled", "[redis][waiting]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    Connection connection = connect_to(redis);
    auto queue = connection.simple_queue("q");
    raw({"CONFIG", "SET", "maxclients", "2"});
    const LogCapture logged;
    const auto finds_nothing = [&] { CHECK_THROWS_AS(queue.get({.timeout = 20ms}), Empty); };
    // A call whose time is over before it begins does not try to open the socket.
    CHECK(eventually([&] {
        finds_nothing();
        return !logged.text().empty();
    }));
    CHECK_THAT(logged.text(), Contains("max number of clients") && Contains("polled"));
    raw({"LPUSH", "q", "poison"});
    CHECK(eventually([&] {
        finds_nothing();
        return raw({"LLEN", "_kombu.poison.q"}) == 1;
    }));
    CHECK(connection.connected());
}

TEST_CASE("a waiting consumer sends at most two commands a second", "[redis][waiting]") {
    // Renaming CLIENT leaves no notices.
    for (const char* options : {"", "--rename-command CLIENT ''"}) {
        INFO(options);
        PrivateRedis redis{options};
        RawRedis raw{redis.port()};
        Connection connection = connect_to(redis, {{"unacked_restore_interval", 3600}});
        auto queue = connection.simple_queue("q");
        CHECK_THROWS_AS(queue.get({.timeout = 1500ms}), Empty);  // the polls get rarer
        raw({"CONFIG", "RESETSTAT"});
        CHECK_THROWS_AS(queue.get({.timeout = 2500ms}), Empty);
        std::int64_t sum = 0;
        for (const char* command : {"exists", "evalsha", "rpop", "client|caching", "client|tracking", "pubsub|numsub"})
            sum += calls(raw, command);
        CHECK(sum <= 8);
        CHECK(sum >= 1);
    }
}

TEST_CASE("bindings are read with each message to an exchange, once a batch, and never for a queue",
          "[redis][bindings]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    Connection connection = connect_to(redis);
    Producer producer{connection};
    const Exchange exchange{"ex"};
    producer.publish(0, {.exchange = exchange, .routing_key = "k", .declare = {Queue{"q", exchange, "k"}}});
    raw({"CONFIG", "RESETSTAT"});
    for (int i = 0; i < 5; ++i) producer.publish(i, {.routing_key = "q"});
    CHECK(calls(raw, "smembers") == 0);
    for (int i = 0; i < 5; ++i) producer.publish(i, {.exchange = exchange, .routing_key = "k"});
    CHECK(calls(raw, "smembers") == 5);
    Batch batch = producer.batch();
    for (int i = 0; i < 50; ++i) batch.publish(i, {.exchange = exchange, .routing_key = "k"});
    batch.commit(5s);
    CHECK(calls(raw, "smembers") == 6);
    CHECK(raw({"LLEN", "q"}) == 61);
}

TEST_CASE("a message and the look at its bindings are sent together, and put right", "[redis][bindings]") {
    std::vector<std::string> commands;
    std::mutex mutex;
    ScriptedPeer peer{[&](PeerSocket& socket) {
        answer_login(socket);
        const auto members = [](const std::string& queue) { return "*1\r\n$6\r\nk\x06\x16\x06\x16" + queue + "\r\n"; };
        const auto receive = [&](int count) {
            for (; count > 0; --count) {
                const std::string command = receive_command(socket);
                const std::lock_guard lock{mutex};
                commands.push_back(command.substr(0, command.find("{\"body")));
            }
        };
        receive(1);
        socket.send(members("a"));
        receive(2);  // before any reply
        socket.send(":1\r\n" + members("b"));
        receive(2);
        socket.send(":1\r\n" + members("b"));
        receive(1);
        socket.send(":1\r\n");
        socket.wait_for_close();
    }};
    {
        Connection connection{"redis://127.0.0.1:" + std::to_string(peer.port()) + "/0"};
        Producer{connection}.publish(1, {.exchange = "ex", .routing_key = "k", .timeout = 5s});
    }
    const std::lock_guard lock{mutex};
    REQUIRE(commands.size() == 6);
    CHECK_THAT(commands[1], Contains("LPUSH") && Contains("\r\na\r\n"));
    CHECK_THAT(commands[2], Contains("SMEMBERS"));
    CHECK_THAT(commands[3], Contains("LPUSH") && Contains("\r\nb\r\n"));
    CHECK_THAT(commands[4], Contains("SMEMBERS"));
    CHECK_THAT(commands[5], Contains("LREM") && Contains("\r\na\r\n"));
}

TEST_CASE("many waiting consumers receive each message once, and all have their share", "[redis][waiting]") {
    Prefixed redis;
    constexpr int consumers = 6, messages = 600;
    std::atomic<int> received{0}, repeated{0};
    std::vector<std::atomic<int>> counts(consumers), seen(messages);
    std::vector<std::string> errors(consumers);
    std::vector<std::thread> threads;
    for (int i = 0; i < consumers; ++i)
        threads.emplace_back([&, i] {
            try {
                Connection connection = redis.connection({{"polling_interval", 5}});
                auto queue = connection.simple_queue("q");
                for (;;) {
                    Message message = queue.get({.timeout = 60s});
                    message.ack();
                    if (message.payload() == "end") break;
                    if (seen[message.payload().get<std::size_t>()]++ != 0) ++repeated;
                    ++counts[static_cast<std::size_t>(i)];
                    ++received;
                }
            } catch (const std::exception& error) {
                errors[static_cast<std::size_t>(i)] = error.what();
            }
        });
    Connection connection = redis.connection();
    Producer producer{connection};
    auto next = Clock::now();
    for (int i = 0; i < messages; ++i) {
        std::this_thread::sleep_until(next += 2ms);  // so that they wait in between
        producer.publish(i, {.routing_key = "q"});
    }
    for (int i = 0; i < consumers; ++i) producer.publish("end", {.routing_key = "q"});
    for (std::thread& thread : threads) thread.join();
    CHECK(received == messages);
    CHECK(repeated == 0);
    CHECK(errors == std::vector<std::string>(consumers));
    CHECK(redis.unacked_count() == 0);
    CHECK(std::all_of(counts.begin(), counts.end(), [](const auto& count) { return count > 0; }));
}

TEST_CASE("after a lost race the next message is reported, with any number of priorities", "[redis][waiting]") {
    for (const Json& steps : {Json{0}, Json{0, 3, 6, 9}}) {
        PrivateRedis redis;
        RawRedis raw{redis.port()};
        Connection consumer = connect_to(redis, {{"polling_interval", 3600}, {"priority_steps", steps}}),
                   publisher = connect_to(redis, {{"priority_steps", steps}});
        auto queue = consumer.simple_queue("q");
        std::thread rival{[&] {
            await_subscriber(raw);
            for (int i = 0; i < 5; ++i) {
                // Nobody else sees the message, but the consumer is told that the list has changed.
                const std::int64_t before = calls(raw, "client|caching");
                raw({"MULTI"});
                raw({"LPUSH", "q", "x"});
                raw({"RPOP", "q"});
                raw({"EXEC"});
                while (calls(raw, "client|caching") == before) std::this_thread::yield();  // it waits again
            }
            Producer{publisher}.publish(1, {.routing_key = "q"});
        }};
        CHECK(queue.get({.timeout = 30s}).payload() == 1);
        rival.join();
    }
}

TEST_CASE("a second socket that is not answered delays a message by two seconds at most", "[redis][waiting]") {
    // Scripted: a proxy that serves one connection, and does not accept others.
    const auto proxy = [](int empty_takes) {
        return [empty_takes](PeerSocket& socket) {
            answer_login(socket);
            for (int takes = 0;;) {
                const std::string command = receive_command(socket);
                if (command.empty()) return;
                const bool take = command.find("EVALSHA") != std::string::npos;
                const std::string item =
                    R"({"body":"1","content-type":"application/json","properties":{"delivery_tag":"t",)"
                    R"("delivery_info":{"exchange":"","routing_key":"q"}}})";
                if (take && ++takes > empty_takes)
                    socket.send("*5\r\n:0\r\n:0\r\n$" + std::to_string(item.size()) + "\r\n" + item +
                                "\r\n:0\r\n$1\r\nt\r\n");
                else if (take)
                    socket.send("*2\r\n:0\r\n:0\r\n");
                else
                    socket.send(command.find("TRACKING") != std::string::npos ? "+OK\r\n" : ":1\r\n");
            }
        };
    };
    const auto time_of_get = [](const ScriptedPeer& peer, std::chrono::milliseconds timeout) {
        Connection connection{"redis://127.0.0.1:" + std::to_string(peer.port()) + "/0?polling_interval=0.05"};
        auto queue = connection.simple_queue("q");
        const auto start = Clock::now();
        try {
            const Json payload = queue.get({.timeout = timeout}).payload();
            CHECK(payload == 1);
        } catch (const Empty&) {
            CHECK(timeout == 20ms);
        }
        CHECK(connection.connected());
        return Clock::now() - start;
    };
    ScriptedPeer with_message{proxy(4)}, without{proxy(1'000'000)};
    CHECK(time_of_get(with_message, 60s) < 10s);
    CHECK(time_of_get(without, 20ms) < 1500ms);
}
