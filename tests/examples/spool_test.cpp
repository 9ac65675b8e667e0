// SPDX-License-Identifier: BSD-3-Clause
// The transport of examples/spool, which programs may copy.
#include "support/catch.hpp"
#include "support/child.hpp"

#include <kombu/kombu.hpp>

#include "../../examples/spool/transport.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <stop_token>
#include <string>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A spool in a directory of its own, which is deleted.
class Directory {
public:
    Directory() {
        static int last = 0;
        path_ = std::filesystem::temp_directory_path() /
                ("kombu-spool-" + std::to_string(::getpid()) + "-" + std::to_string(++last));
        register_transport("spool", std::make_shared<spool::SpoolTransport>());
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    ~Directory() { std::filesystem::remove_all(path_); }

    Connection broker() const { return Connection{"spool://localhost", {.virtual_host = path_.string()}}; }
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

}  // namespace

TEST_CASE("a message keeps its properties in a spool", "[spool]") {
    const Directory directory;
    Connection connection = directory.broker();
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

TEST_CASE("a file that is no message can be settled, and says so", "[spool][hostile]") {
    const Directory directory;
    Connection connection = directory.broker();
    SimpleQueue queue = connection.simple_queue(Queue{"jobs"});
    int number = 0;
    for (const std::string& text :
         {std::string{}, std::string{"\x91\x91\x91"}, std::string{"{\"headers\": 5}\n"},
          std::string{"{\"headers\": {}, \"content_type\": 5}\n"}, std::string(1 << 20, '[')}) {
        std::ofstream{directory.path() / "jobs" / std::to_string(++number)} << text;
        Message message = queue.get({.timeout = 5s});
        CHECK_THROWS_AS(message.payload(), DecodeError);
        CHECK_THROWS_WITH(message.headers(), Contains("is not a message"));
        message.reject();
    }
    std::filesystem::create_directory(directory.path() / "jobs" / "no file");
    CHECK_THROWS_AS(queue.get({.block = false}), Empty);
}

TEST_CASE("a rejected message of a spool is gone, a requeued one comes again", "[spool]") {
    const Directory directory;
    Connection connection = directory.broker();
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

TEST_CASE("what a process had taken from a spool comes again when it is gone", "[spool][fork]") {
    const Directory directory;
    {
        Connection connection = directory.broker();
        connection.simple_queue(Queue{"jobs"}).put("x");
    }
    CHECK(in_child([&]() -> std::string {
              Connection connection = directory.broker();
              const Message message = connection.simple_queue(Queue{"jobs"}).get({.timeout = 5s});
              ::_exit(message.body() == "x" ? 0 : 1);  // as if it were killed
          }).empty());
    Connection connection = directory.broker();
    Message message = connection.simple_queue(Queue{"jobs"}).get({.block = false});
    CHECK(message.redelivered());
    message.ack();
}

TEST_CASE("consumers of two queues of a spool have their turns", "[spool]") {
    const Directory directory;
    const Queue a{"a"}, z{"z"};
    {
        Connection connection = directory.broker();
        Producer producer{connection};
        for (int i = 0; i < 50; ++i) producer.publish(i, {.routing_key = "a", .declare = {a}});
        producer.publish("last", {.routing_key = "z", .declare = {z}});
    }
    std::stop_source stop;
    std::atomic<int> before = 0;
    ConsumerLoop loop{directory.broker(), {a, z}, {.consumer = {.prefetch_count = 5}, .threads = 1}};
    loop.on_message([&](Message& message) {
        if (message.payload() == "last")
            stop.request_stop();
        else
            ++before;
    });
    loop.run(stop.get_token());
    CHECK(before < 50);
}

TEST_CASE("a spool refuses what it does not have", "[spool][errors]") {
    const Directory directory;
    Connection connection = directory.broker();
    Producer producer{connection};
    const auto refused = [&](auto call, const char* text) { CHECK_THROWS_WITH(call(), Contains(text)); };
    connection.default_channel().declare(Queue{"jobs"});
    refused([&] { producer.publish("x", {.exchange = Exchange{"news"}, .routing_key = "jobs"}); }, "an exchange");
    refused([&] { producer.publish("x", {.routing_key = "jobs", .priority = 3}); }, "a priority");
    refused([&] { producer.publish("x", {.routing_key = "jobs", .expiration = 3s}); }, "an expiration");
    refused([&] { producer.publish("x", {.routing_key = "none", .mandatory = true}); }, "no queue is named 'none'");
    refused([&] { connection.default_channel().declare(Queue{"q", {.max_length = 3}}); }, "a bounded queue");
    refused([&] { connection.default_channel().declare(Queue{"q", {.passive = true}}); }, "no queue 'q'");
    refused([&] { connection.default_channel().declare(Queue{"../q"}); }, "cannot be named");
    CHECK_THROWS_AS((Connection{"spool://localhost", {.virtual_host = "relative"}}), ConfigurationError);
}

TEST_CASE("a spool has one identity, however its directory is written", "[spool]") {
    const Directory directory;
    CHECK(directory.broker() ==
          Connection{"spool://localhost", {.virtual_host = directory.path().string() + "//x/../"}});
}

TEST_CASE("a reset ends a wait for a message of a spool", "[spool]") {
    const Directory directory;
    pools::Connections connections;
    const Connection broker = directory.broker();
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
