// Messages that a consumer held for too long.
#include "redis/redis_fixture.hpp"
#include "support/child.hpp"

#include <csignal>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const Json eager = {{"visibility_timeout", 0.05}, {"unacked_restore_interval", 0.02}};

/// The visibility timeout is measured by the server's clock: nothing but time makes it pass.
void let_it_expire() { std::this_thread::sleep_for(80ms); }

}  // namespace

TEST_CASE("a message held for too long goes back to the queue it came from, and nowhere else", "[redis][restore]") {
    Prefixed redis;
    Connection holder = redis.connection(), other = redis.connection(eager);
    const Exchange exchange{"ex"};
    const Queue a{"a", exchange, "k"}, b{"b", exchange, "k"};
    Producer{holder}.publish(1, {.exchange = exchange, .routing_key = "k", .declare = {a, b}, .priority = 6});
    Message held = holder.simple_queue(a).get(soon);
    let_it_expire();
    Message again = other.simple_queue(a).get(soon);
    CHECK(again.redelivered());
    CHECK(again.payload() == 1);
    CHECK(again.delivery_info().exchange == "ex");
    CHECK(redis.length("b" + separator + "6") == 1);
    // The first holder comes too late to give it back a second time.
    held.requeue();
    CHECK(redis.length("a" + separator + "6") == 0);
    CHECK(redis.held() == 1);
    again.ack();
    CHECK(redis.held() == 0);
}

TEST_CASE("a consumer that is killed at any instant loses nothing", "[redis][restore]") {
    Prefixed redis;
    Connection connection = redis.connection(eager);
    auto queue = connection.simple_queue("q");
    constexpr int messages = 200;
    for (int i = 0; i < messages; ++i) queue.put(i);
    for (int round = 0; round < 8; ++round) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            try {
                Connection own = redis.connection({{"unacked_mutex_expire", 0.05}});  // it may die with it
                auto from = own.simple_queue("q");
                for (;;) (void)from.get({.timeout = 1s});
            } catch (...) {
            }
            ::_exit(0);
        }
        std::this_thread::sleep_for(std::chrono::microseconds{1500 + 700 * round});  // wherever it is then
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }
    CHECK(redis.length("q") + redis.held() == messages);
    let_it_expire();
    std::set<int> seen;
    auto taking = connection.simple_queue("q", {.no_ack = true});
    while (seen.size() < messages) seen.insert(taking.get(soon).payload().get<int>());
    CHECK(seen.size() == messages);
    CHECK_THROWS_AS(taking.get({.timeout = 100ms}), Empty);
    CHECK(redis.held() == 0);
}

TEST_CASE("one consumer at a time gives back, and a limit bounds how much", "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    for (int i = 0; i < 250; ++i) queue.put(i);
    std::vector<Message> held;
    for (int i = 0; i < 250; ++i) held.push_back(queue.get(soon));
    let_it_expire();
    {
        Connection limited = redis.connection({{"visibility_timeout", 0.05}, {"unacked_restore_limit", 120}});
        auto from = limited.simple_queue("q");
        CHECK_NOTHROW(from.get(soon).ack());
        CHECK(redis.length("q") == 119);
        CHECK(redis.held() == 130);
    }
    redis({"SET", "unacked_mutex", "another"});
    Connection barred = redis.connection(eager);
    auto from = barred.simple_queue("q");
    from.clear();
    CHECK_THROWS_AS(from.get({.timeout = 60ms}), Empty);
    CHECK(redis.held() == 130);
    CHECK(redis({"GET", "unacked_mutex"}) == "another");
    redis({"DEL", "unacked_mutex"});
    Message next = from.get(soon);
    CHECK(redis.held() == 1);
    CHECK(redis.length("q") == 129);
    // In their old order: those that were held longest are served first.
    CHECK(next.payload().get<int>() < from.get(soon).payload().get<int>());
}

TEST_CASE("R6 they are looked for at the first time, and then at each so-many-th", "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    queue.put(1);
    Message held = queue.get(soon);
    Json options = eager;
    options["unacked_restore_throttle"] = 1000;
    Connection other = redis.connection(options);
    auto from = other.simple_queue("q");
    CHECK_THROWS_AS(from.get({.block = false}), Empty);  // the first time: too early
    let_it_expire();
    CHECK_THROWS_AS(from.get({.timeout = 100ms}), Empty);  // some of the times between
    Connection fresh = redis.connection(options);
    CHECK(fresh.simple_queue("q").get(soon).redelivered());
}

TEST_CASE("the mutex is not held for ever by one who died with it", "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    queue.put(1);
    Message held = queue.get(soon);
    let_it_expire();
    redis({"SET", "unacked_mutex", "died", "PX", "100"});
    Connection other = redis.connection(eager);
    CHECK(other.simple_queue("q").get(soon).redelivered());
    Json options = eager;
    options["unacked_mutex_expire"] = 0.2;
    Connection third = redis.connection(options);
    CHECK_THROWS_AS(third.simple_queue("q").get({.timeout = 30ms}), Empty);
}

TEST_CASE("what Kombu holds goes back by its exchange, as Kombu would do it", "[redis][restore]") {
    Prefixed redis;
    Connection connection = redis.connection(eager);
    const Exchange exchange{"ex", "topic"};
    const Queue queue{"q", exchange, "a.*"};
    auto from = connection.simple_queue(queue);
    const std::string envelope =
        R"({"body": "MQ==", "content-encoding": "utf-8", "content-type": "application/json", "headers": {}, )"
        R"("properties": {"delivery_mode": 2, "delivery_info": {"exchange": "ex", "routing_key": "a.b"}, )"
        R"("priority": 3, "body_encoding": "base64", "delivery_tag": "t1"}})";
    redis({"HSET", "unacked", "t1", '[' + envelope + R"(, "ex", "a.b"])"});
    redis({"ZADD", "unacked_index", "1000.5", "t1"});
    redis({"ZADD", "unacked_index", "1000.5", "gone"});  // what is known to be held and is not recorded
    Message message = from.get(soon);
    CHECK(message.payload() == 1);
    CHECK(message.redelivered());
    CHECK(redis({"ZSCORE", "unacked_index", "gone"}) == nullptr);
    message.requeue();
    CHECK(redis.length("q" + separator + "3") == 1);
}

TEST_CASE("records that nobody can read, or without a way back, are set aside", "[redis][restore][errors]") {
    Prefixed redis;
    redis({"HSET", "unacked", "t1", "not json"});
    redis({"HSET", "unacked", "t2", R"([{"body": "", "properties": {}}, "no.such.exchange", "rk"])"});
    for (const char* tag : {"t1", "t2"}) redis({"ZADD", "unacked_index", "1000", tag});
    const Logged logged;
    Connection connection = redis.connection(eager);
    CHECK_THROWS_AS(connection.simple_queue("q").get({.block = false}), Empty);
    CHECK_THAT(logged.text(), Contains("nobody can read") && Contains("no queue to go back to"));
    CHECK(redis({"LINDEX", "_kombu.poison.unacked", "0"}) == "not json");
    CHECK(redis({"LINDEX", "_kombu.poison.rk", "0"}) == R"({"body": "", "properties": {}})");
    CHECK(redis.held() == 0);
    CHECK(redis({"ZCARD", "unacked_index"}) == 0);
}

TEST_CASE("a waiting consumer is given what others held for too long, within the polling interval",
          "[redis][restore][options]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    queue.put(1);
    Message held = queue.get(soon);
    Json options = eager;
    options["polling_interval"] = 0.02;
    Connection other = redis.connection(options);
    CHECK(other.simple_queue("q").get(soon).redelivered());
}

TEST_CASE("large messages are given back in pieces, within the time of who asked", "[redis][restore]") {
    Prefixed redis;
    Connection holder = redis.connection();
    auto queue = holder.simple_queue("q");
    const std::string large(1'200'000, 'x');
    std::vector<Message> held;
    for (int i = 0; i < 6; ++i) queue.put(large);
    for (int i = 0; i < 6; ++i) held.push_back(queue.get(soon));
    let_it_expire();
    Connection other = redis.connection(eager);
    auto from = other.simple_queue("q", {.no_ack = true});
    int taken = 0;
    for (const Deadline end = Deadline::after(60s); taken < 6 && !end.expired();) {
        try {
            (void)from.get({.timeout = 10ms});
            ++taken;
        } catch (const Empty&) {
        }
        CHECK(other.connected());
    }
    CHECK(taken == 6);
    CHECK(redis.held() == 0);
    CHECK(redis({"EXISTS", "unacked_mutex"}) == 0);
}
