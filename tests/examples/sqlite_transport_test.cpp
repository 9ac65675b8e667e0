// SPDX-License-Identifier: BSD-3-Clause
// The transport of examples/sqlite_transport, which programs may copy.
#include "support/catch.hpp"
#include "support/child.hpp"

#include <kombu/kombu.hpp>

#include "../../examples/sqlite_transport/transport.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A database in a directory of its own, which is deleted.
class Database {
public:
    Database() {
        static int last = 0;
        directory_ = std::filesystem::temp_directory_path() /
                     ("kombu-sqlite-" + std::to_string(::getpid()) + "-" + std::to_string(++last));
        std::filesystem::create_directory(directory_);
        register_transport("sqlite", std::make_shared<sqlite_transport::SqliteTransport>());
    }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database() { std::filesystem::remove_all(directory_); }

    std::string file() const { return directory_ / "jobs.db"; }
    Connection broker(double visibility_timeout = 1800) const {
        return Connection{"sqlite://localhost",
                          {.virtual_host = file(), .transport_options = {{"visibility_timeout", visibility_timeout}}}};
    }
    void execute(const std::string& sql) const {
        sqlite3* database = nullptr;
        REQUIRE(::sqlite3_open(file().c_str(), &database) == SQLITE_OK);
        ::sqlite3_busy_timeout(database, 5000);
        CHECK(::sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
        ::sqlite3_close(database);
    }

private:
    std::filesystem::path directory_{};
};

}  // namespace

TEST_CASE("a message keeps its properties in a database", "[sqlite]") {
    const Database database;
    Connection connection = database.broker();
    SimpleQueue queue = connection.simple_queue(Queue{"jobs"});
    Producer producer{connection};
    producer.publish({{"n", 1}}, {.routing_key = "jobs",
                                  .headers = {{"user", 7}},
                                  .correlation_id = "c",
                                  .reply_to = "answers",
                                  .message_id = "m",
                                  .timestamp = Timestamp{17},
                                  .type = "t",
                                  .app_id = "a"});
    Message message = queue.get({.timeout = 5s});
    CHECK(message.payload() == Json{{"n", 1}});
    CHECK(message.headers() == Json{{"user", 7}});
    CHECK(message.properties().correlation_id == "c");
    CHECK(message.properties().reply_to == "answers");
    CHECK(message.properties().message_id == "m");
    CHECK(message.properties().timestamp == 17u);
    CHECK(message.properties().type == "t");
    CHECK(message.properties().app_id == "a");
    message.ack();
    CHECK_THROWS_AS(queue.get({.block = false}), Empty);
}

TEST_CASE("a row that is no message can be settled, and says so", "[sqlite][hostile]") {
    const Database database;
    Connection connection = database.broker();
    SimpleQueue queue = connection.simple_queue(Queue{"jobs"});
    const std::string deep = "'{\"headers\": {\"a\": " + std::string(1000, '[') + std::string(1000, ']') + "}}'";
    for (const std::string& properties :
         {std::string{"NULL"}, std::string{"'['"}, std::string{"'{\"headers\": 5}'"},
          std::string{"'{\"headers\": {}, \"content_type\": 5}'"}, std::string{"zeroblob(1000000)"}, deep}) {
        CAPTURE(properties.substr(0, 100));
        database.execute("INSERT INTO messages (queue, properties, body) VALUES ('jobs', " + properties + ", NULL)");
        Message message = queue.get({.timeout = 5s});
        CHECK_THROWS_AS(message.payload(), DecodeError);
        CHECK_THROWS_WITH(message.headers(), Contains("is not one of ours"));
        message.reject();
    }
    CHECK_THROWS_AS(queue.get({.block = false}), Empty);
}

TEST_CASE("a rejected message of a database is gone, a requeued one comes again", "[sqlite]") {
    const Database database;
    Connection connection = database.broker();
    SimpleQueue queue = connection.simple_queue(Queue{"jobs"});
    queue.put("x");
    Message first = queue.get({.timeout = 5s});
    CHECK_FALSE(first.redelivered());
    first.requeue();
    Message second = queue.get({.timeout = 5s});
    CHECK(second.redelivered());
    second.reject();
    CHECK_THROWS_AS(queue.get({.block = false}), Empty);
}

TEST_CASE("what a process had taken from a database comes again when it is gone", "[sqlite][fork]") {
    const Database database;
    {
        Connection connection = database.broker();
        connection.simple_queue(Queue{"jobs"}).put("x");
    }
    CHECK(in_child([&]() -> std::string {
              Connection connection = database.broker(0.2);
              const Message message = connection.simple_queue(Queue{"jobs"}).get({.timeout = 5s});
              ::_exit(message.body() == "x" ? 0 : 1);  // as if it were killed
          }).empty());
    Connection connection = database.broker();
    Message message = connection.simple_queue(Queue{"jobs"}).get({.timeout = 20s});
    CHECK(message.redelivered());
    message.ack();
}

TEST_CASE("a forked child gives back nothing of its parent to the database", "[sqlite][fork]") {
    const Database database;
    Connection connection = database.broker();
    SimpleQueue queue = connection.simple_queue(Queue{"jobs"});
    queue.put("x");
    auto message = std::make_unique<Message>(queue.get({.timeout = 5s}));
    CHECK(in_child([&]() -> std::string {
              message.reset();
              connection.close();
              return "";
          }).empty());
    CHECK_THROWS_AS(queue.get({.block = false}), Empty);
    message->ack();
}

TEST_CASE("processes that take from one database have each message once", "[sqlite][fork]") {
    const Database database;
    constexpr int count = 200;
    {
        Connection connection = database.broker();
        SimpleQueue queue = connection.simple_queue(Queue{"jobs"});
        for (int i = 0; i < count; ++i) queue.put(i);
        (void)connection.simple_queue(Queue{"done"});
    }
    const auto move_all = [&]() -> std::string {
        Connection connection = database.broker();
        SimpleQueue from = connection.simple_queue(Queue{"jobs"}), to = connection.simple_queue(Queue{"done"});
        for (;;) try {
                Message message = from.get({.block = false});
                to.put(message.payload());
                message.ack();
            } catch (const Empty&) {
                return "";
            }
    };
    std::string first;
    std::jthread other{[&] { first = in_child(move_all); }};
    const std::string second = in_child(move_all);
    other.join();
    CHECK(first + second == "");
    Connection connection = database.broker();
    SimpleQueue done = connection.simple_queue(Queue{"done"});
    std::multiset<int> numbers;
    for (int i = 0; i < count; ++i) {
        Message message = done.get({.timeout = 5s});
        numbers.insert(message.payload().get<int>());
        message.ack();
    }
    CHECK(std::set<int>(numbers.begin(), numbers.end()).size() == count);
    CHECK_THROWS_AS(done.get({.block = false}), Empty);
}

TEST_CASE("a consumer whose queue is deleted from the database is told of it", "[sqlite][errors]") {
    const Database database;
    Connection connection = database.broker();
    Consumer consumer{connection, {Queue{"jobs"}}};
    consumer.on_message([](Message&) {});
    consumer.consume();
    database.execute("DELETE FROM queues");
    CHECK_THROWS_AS(connection.drain_events(5s), ConsumerCancelled);
}

TEST_CASE("consumers of two queues of a database have their turns", "[sqlite]") {
    const Database database;
    const Queue a{"a"}, z{"z"};
    {
        Connection connection = database.broker();
        Producer producer{connection};
        for (int i = 0; i < 50; ++i) producer.publish(i, {.routing_key = "a", .declare = {a}});
        producer.publish("last", {.routing_key = "z", .declare = {z}});
    }
    std::stop_source stop;
    std::atomic<int> before = 0;
    ConsumerLoop loop{database.broker(), {a, z}, {.consumer = {.prefetch_count = 5}, .threads = 1}};
    loop.on_message([&](Message& message) {
        if (message.payload() == "last")
            stop.request_stop();
        else
            ++before;
    });
    loop.run(stop.get_token());
    CHECK(before < 50);
}

TEST_CASE("a database refuses what it does not have", "[sqlite][errors]") {
    const Database database;
    Connection connection = database.broker();
    Producer producer{connection};
    const auto refused = [&](auto call, const char* text) { CHECK_THROWS_WITH(call(), Contains(text)); };
    connection.default_channel().declare(Queue{"jobs"});
    refused([&] { producer.publish("x", {.exchange = Exchange{"news"}, .routing_key = "jobs"}); }, "an exchange");
    refused([&] { producer.publish("x", {.routing_key = "jobs", .priority = 3}); }, "a priority");
    refused([&] { producer.publish("x", {.routing_key = "jobs", .expiration = 3s}); }, "an expiration");
    refused([&] { producer.publish("x", {.routing_key = "none", .mandatory = true}); }, "no queue is named 'none'");
    refused([&] { connection.default_channel().declare(Queue{"q", {.max_length = 3}}); }, "a limit of a queue");
    refused([&] { connection.default_channel().declare(Queue{"q", {.passive = true}}); }, "no queue 'q'");
    refused([&] { connection.default_channel().declare(Queue{"q", {.dead_letter_exchange = ""}}); }, "dead letters");
    for (const char* file : {"relative", "/folder/"})
        CHECK_THROWS_AS((Connection{"sqlite://localhost", {.virtual_host = file}}), ConfigurationError);
    CHECK_THROWS_AS(database.broker(-1), ConfigurationError);
}

TEST_CASE("a database has one identity, however its file is written", "[sqlite]") {
    const Database database;
    CHECK(database.broker() == Connection{"sqlite://localhost", {.virtual_host = "/x/.." + database.file()}});
}

TEST_CASE("a file that is no database is an error of the connection", "[sqlite][errors]") {
    const Database database;
    std::ofstream{database.file()} << std::string(4096, 'x');
    Connection connection = database.broker();
    CHECK_THROWS_AS(connection.connect(), ConnectionError);
    CHECK_THROWS_AS((Connection{"sqlite://localhost", {.virtual_host = "/nowhere/x.db"}}.connect()), ConnectionError);
}

TEST_CASE("a reset ends a wait for a message of a database", "[sqlite]") {
    const Database database;
    pools::Connections connections;
    const Connection broker = database.broker();
    std::atomic<bool> is_waiting = false;
    std::string error;
    std::jthread waiter{[&] {
        auto connection = connections[broker].acquire();
        SimpleQueue queue = connection->simple_queue(Queue{"jobs"});
        is_waiting = true;
        try {
            (void)queue.get({.timeout = 60s});
        } catch (const ConnectionError& caught) {
            error = caught.what();
        }
    }};
    while (!is_waiting) std::this_thread::yield();
    connections.reset();
    waiter.join();
    CHECK_THAT(error, Contains("closed"));
}
