// SPDX-License-Identifier: BSD-3-Clause
// Failures of real Redis servers: a typed error within the deadline, and the next call works as soon as Redis does.
#include "redis/redis_fixture.hpp"
#include "support/background_loop.hpp"
#include "support/eventually.hpp"
#include "support/private_redis.hpp"
#include "support/time_of.hpp"

#include <kombu/celery_result.hpp>

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE("Redis is killed and restarted: errors in time, and the next acquire works", "[redis][faults]") {
    PrivateRedis redis;
    const Connection broker{redis.url()};
    pools::Connections connections{{.limit = 3}};
    pools::Producers producers{{.limit = 3, .connections = &connections}};
    {
        auto one = producers[broker].acquire(), two = producers[broker].acquire();
        one->publish(1, {.routing_key = "q"});
        two->publish(2, {.routing_key = "q"});
    }
    for (int round = 0; round < 3; ++round) {
        auto waiting = connections[broker].acquire();
        auto queue = waiting->simple_queue("empty");
        std::thread killer{[&] { redis.kill(); }};
        const auto took = time_of([&] { CHECK_THROWS_AS(queue.get({.timeout = 5s}), ConnectionError); });
        killer.join();
        CHECK(took < 4s);
        CHECK(time_of([&] {
                  CHECK_THROWS_AS(producers[broker]
                                      .acquire({.block = true, .timeout = 1s})
                                      ->publish(3, {.routing_key = "q", .timeout = 1s}),
                                  ConnectionError);
              }) < 2s);
        waiting.release();
        redis.start();
        for (int i = 0; i < 3; ++i)
            CHECK_NOTHROW(producers[broker]
                              .acquire({.block = true, .timeout = 1s})
                              ->publish(4, {.routing_key = "q", .timeout = 5s}));
    }
}

TEST_CASE("C21 with retry a publish survives a restart, and so do the connection's own retries",
          "[redis][faults][options]") {
    PrivateRedis redis;
    Connection connection{redis.url()};
    Producer producer{connection};
    producer.publish(1, {.routing_key = "q"});
    redis.kill();
    std::thread starter{[&] {
        std::this_thread::sleep_for(100ms);
        redis.start();
    }};
    CHECK_NOTHROW(producer.publish(2, {.routing_key = "q",
                                       .retry = true,
                                       .retry_policy = {.max_retries = std::nullopt, .interval_start = 20ms},
                                       .timeout = 20s}));
    starter.join();
    redis.kill();
    Connection impatient{redis.url(),
                         {.transport_options = {{"max_retries", 2}, {"interval_start", 0.01}, {"interval_step", 0}}}};
    const auto took = time_of([&] { CHECK_THROWS_AS(impatient.connect(), ConnectionError); });
    CHECK(took >= 15ms);
    Connection bounded{redis.url(),
                       {.transport_options = {{"max_retries", 1'000'000},
                                              {"interval_start", 0.01},
                                              {"interval_step", 0},
                                              {"connect_retries_timeout", 0.2}}}};
    CHECK(time_of([&] { CHECK_THROWS_AS(bounded.connect(), ConnectionError); }) < 2s);
    std::thread again{[&] {
        std::this_thread::sleep_for(100ms);
        redis.start();
    }};
    Connection patient{
        redis.url(),
        {.transport_options = {
             {"max_retries", 1'000'000}, {"interval_start", 0.02}, {"interval_step", 0}, {"interval_max", 0.02}}}};
    CHECK_NOTHROW(patient.connect({20s}));
    again.join();
}

TEST_CASE("a loading or busy server causes a retryable error", "[redis][faults]") {
    PrivateRedis redis{"--key-load-delay 20000 --loading-process-events-interval-bytes 1024"};
    {
        RawRedis raw{redis.port()};
        for (int i = 0; i < 300; ++i) raw({"SET", "filler" + std::to_string(i), std::string(2000, 'x')});
        raw({"SAVE"});
    }
    redis.kill();
    redis.start();  // answers LOADING for some seconds
    Connection connection{redis.url()};
    Producer producer{connection};
    try {
        producer.publish(1, {.routing_key = "q"});
        FAIL("it was not loading");
    } catch (const LoadingError& error) {
        CHECK(error.is_retryable());
        CHECK_THAT(error.what(), Contains("LOADING"));
    }
    CHECK_NOTHROW(producer.publish(
        1, {.routing_key = "q", .retry = true, .retry_policy = {.max_retries = std::nullopt}, .timeout = 60s}));

    RawRedis raw{redis.port()};
    raw({"CONFIG", "SET", "busy-reply-threshold", "10"});
    std::thread looper{[&] {
        try {
            RawRedis{redis.port()}({"EVAL", "while true do end", "0"});
        } catch (const std::runtime_error&) {
        }
    }};
    bool busy = false;
    const Deadline end = Deadline::after(10s);
    while (!busy && !end.expired()) {
        try {
            producer.publish(2, {.routing_key = "q"});
        } catch (const BusyError& error) {
            busy = true;
            CHECK(error.is_retryable());
            CHECK_FALSE(error.poisons_connection());
        }
    }
    CHECK(busy);
    raw({"SCRIPT", "KILL"});
    looper.join();
    CHECK_NOTHROW(producer.publish(3, {.routing_key = "q"}));
}

TEST_CASE("a server out of memory refuses messages, and accepts them again later", "[redis][faults]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const Connection broker{redis.url()};
    const Exchange exchange{"ex"};
    const Queue a{"a", exchange, "k"}, b{"b", exchange, "k"};
    auto producer = producers[broker].acquire();
    producer->publish(1, {.exchange = exchange, .routing_key = "k", .declare = {a, b}});
    raw({"CONFIG", "SET", "maxmemory", "1"});
    CHECK_THROWS_AS(producer->publish(2, {.routing_key = "a"}), OutOfMemoryError);
    CHECK_THROWS_AS(producer->publish(2, {.exchange = exchange, .routing_key = "k"}), OutOfMemoryError);
    Batch batch = producer->batch();
    for (int i = 0; i < 3; ++i) batch.publish(i, {.routing_key = "a"});
    try {
        batch.commit(5s);
        FAIL("committed");
    } catch (const BatchError& error) {
        CHECK(error.failures().size() == 3);
        CHECK(error.is_retryable());
    }
    raw({"CONFIG", "SET", "maxmemory", "0"});
    batch.commit(5s);
    producer->publish(3, {.exchange = exchange, .routing_key = "k"});
    producer.release();
    CHECK(connections[broker].stats().discarded == 0);
    CHECK(raw({"LLEN", "a"}) == 5);
    CHECK(raw({"LLEN", "b"}) == 2);
}

TEST_CASE("a password that the server no longer accepts is an error that is not retryable", "[redis][faults]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    Connection connection{redis.url()};
    Producer producer{connection};
    producer.publish(1, {.routing_key = "q"});
    raw({"CONFIG", "SET", "requirepass", "new-secret"});
    raw({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
    CHECK_THROWS_AS(producer.publish(2, {.routing_key = "q"}), ConnectionError);
    const auto took = time_of([&] {
        try {
            producer.publish(3, {.routing_key = "q", .retry = true, .timeout = 5s});
            FAIL("published");
        } catch (const AuthenticationError& error) {
            CHECK_FALSE(error.is_retryable());
        }
    });
    CHECK(took < 1s);
    Connection wrong{redis.url(), {.password = "old-secret"}};
    try {
        wrong.connect();
        FAIL("connected");
    } catch (const AuthenticationError& error) {
        CHECK_THAT(error.what(), !Contains("old-secret"));
    }
    CHECK_NOTHROW(Connection(redis.url(), {.password = "new-secret"}).connect());
}

TEST_CASE("a server that stops answering causes a Timeout, and works again when it resumes", "[redis][faults]") {
    PrivateRedis redis;
    Connection connection{redis.url()};
    Producer producer{connection};
    auto queue = connection.simple_queue("empty");
    redis.pause();
    const auto took =
        time_of([&] { CHECK_THROWS_AS(producer.publish(1, {.routing_key = "q", .timeout = 300ms}), Timeout); });
    CHECK(took < 1s);
    CHECK(time_of([&] { CHECK_THROWS_AS(queue.get({.timeout = 100ms}), Error); }) < 3s);
    redis.resume();
    CHECK_NOTHROW(producer.publish(2, {.routing_key = "q", .timeout = 5s}));
}

TEST_CASE("a result is not awaited for longer on a server that stops answering", "[redis][faults][celery]") {
    PrivateRedis redis;
    const auto backend = celery::ResultBackend::redis(Connection{redis.url()});
    auto result = backend.result("task");
    CHECK(result.state() == "PENDING");
    redis.pause();
    CHECK(time_of([&] { CHECK_THROWS_AS(result.get(100ms), Error); }) < 4s);
    redis.resume();
    RawRedis{redis.port()}({"SET", "celery-task-meta-task", R"({"status": "SUCCESS", "result": 7})"});
    CHECK(result.get(10s) == 7);
}

TEST_CASE("a server that stands still for two seconds costs a busy loop nothing", "[redis][faults][loop]") {
    PrivateRedis redis;
    Connection connection{redis.url()};
    const Queue queue{"busy"};
    constexpr std::size_t messages = 4000;
    Batch batch = Producer{connection}.batch();
    for (std::size_t i = 0; i < messages; ++i) batch.publish(i, {.routing_key = "busy", .declare = {queue}});
    batch.commit(30s);
    ConsumerLoop loop{connection, {queue}};
    loop.on_message([](Message&) { std::this_thread::sleep_for(200us); });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return loop.stats().acknowledged > 300; }));
    redis.pause();
    std::this_thread::sleep_for(2s);  // how long it stands still
    redis.resume();
    CHECK(eventually([&] { return loop.stats().acknowledged == messages; }, 30s));
    const ConsumerStats stats = loop.stats();
    CHECK(stats.consumes == 1);
    CHECK(stats.late == 0);
    CHECK(stats.last_error == "");
}

TEST_CASE("a script that fails half-way loses no message", "[redis][faults]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    Connection connection{redis.url()};
    connection.simple_queue("q").put("precious");
    for (const char* forbidden : {"-hset", "-zadd", "-rpop"}) {
        INFO(forbidden);
        raw({"ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", forbidden});
        Connection limited{"redis://limited:pw@127.0.0.1:" + std::to_string(redis.port()) + "/0"};
        CHECK_THROWS_AS(limited.simple_queue("q").get({.timeout = 200ms}), ChannelError);
        CHECK(raw({"LLEN", "q"}) == 1);
        raw({"ACL", "DELUSER", "limited"});
    }
    raw({"DEL", "unacked", "unacked_index"});
    raw({"SET", "unacked", "a text"});
    CHECK_THROWS_AS(connection.simple_queue("q").get({.timeout = 200ms}), ChannelError);
    CHECK(raw({"LLEN", "q"}) == 1);
    raw({"DEL", "unacked", "unacked_index"});
    CHECK(raw({"EXISTS", "unacked_mutex"}) == 0);
    // A record that cannot be restored stays, and does not affect other messages.
    raw({"SET", "no.list", "a text"});
    raw({"HSET", "unacked", "t", R"([{"body": ""}, "", "no.list"])"});
    raw({"ZADD", "unacked_index", "1", "t"});
    const LogCapture logged;
    Connection consumer{redis.url()};
    CHECK(consumer.simple_queue("q").get({.timeout = 5s}).payload() == "precious");
    CHECK_THAT(logged.text(), Contains("cannot be restored") && Contains("WRONGTYPE"));
    CHECK(raw({"HEXISTS", "unacked", "t"}) == 1);
    CHECK(raw({"EXISTS", "unacked_mutex"}) == 0);
}

TEST_CASE("a server out of memory still delivers and requeues messages", "[redis][faults]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    Connection connection{redis.url()};
    auto queue = connection.simple_queue("q");
    queue.put(1);
    raw({"LPUSH", "q", "poison"});
    raw({"RPOPLPUSH", "q", "q"});
    raw({"CONFIG", "SET", "maxmemory", "1"});
    Message message = queue.get({.timeout = 5s});
    CHECK(raw({"LLEN", "_kombu.poison.q"}) == 1);
    message.requeue();
    queue.get({.timeout = 5s}).ack();
    CHECK(raw({"HLEN", "unacked"}) == 0);
    CHECK(raw({"ZCARD", "unacked_index"}) == 0);
    CHECK(connection.default_channel().queue_purge("_kombu.poison.q") == 1);
}

TEST_CASE("a refused subscription to a fanout exchange is an error, and no other reply is lost", "[redis][faults]") {
    PrivateRedis redis;
    RawRedis raw{redis.port()};
    raw({"ACL", "SETUSER", "limited", "on", ">pw", "~*", "resetchannels", "+@all"});
    Connection limited{"redis://limited:pw@127.0.0.1:" + std::to_string(redis.port()) + "/0"};
    try {
        limited.simple_queue(Queue{"q", Exchange{"fan", "fanout"}});
        FAIL("listens");
    } catch (const ChannelError& error) {
        CHECK(error.code() == 403);
    }
    CHECK(limited.connected());
    limited.simple_queue("other").put(1);
    CHECK(limited.simple_queue("other").get({.timeout = 5s}).payload() == 1);
}

TEST_CASE("N16 a loop stops at once while the server hangs", "[redis][loop]") {
    PrivateRedis redis;
    Connection connection{redis.url()};
    ConsumerLoop loop{connection, {Queue{"q"}}};
    loop.on_message([](Message&) {});
    Producer{connection}.publish(1, {.routing_key = "q"});
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return loop.stats().acknowledged == 1; }));
    redis.pause();
    std::this_thread::sleep_for(1500ms);  // until it looks at its queue
    const auto start = Clock::now();
    const StopReport report = background.stop();
    redis.resume();
    CHECK(Clock::now() - start < 3s);
    CHECK(report.in_time);
}
