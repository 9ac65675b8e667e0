// SPDX-License-Identifier: BSD-3-Clause
// Python and a loop in C++ on one queue, both publishing and consuming. Runs against RabbitMQ and Redis.
// KOMBU_TEST_MESSAGES says how many messages each side publishes.
#include "support/background_loop.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/python_peer.hpp"

#include <kombu/celery.hpp>

#include <cstdlib>
#include <future>
#include <map>
#include <mutex>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

std::size_t messages_of_each_side(std::size_t otherwise) {
    const char* const text = std::getenv("KOMBU_TEST_MESSAGES");
    return text ? std::stoul(text) : otherwise;
}

}  // namespace

TEST_CASE("N28 Kombu and a loop share a queue, and each message is handled once by one of them", "[interop][loop]") {
    const Topology topology;
    const Json queue{topology.queue.name(), topology.exchange.name(), "direct", "key"};
    const std::size_t each = messages_of_each_side(1500);
    const Connection broker{broker_url()};
    Connection connection{broker};
    connection.channel().declare(topology.queue);
    PythonPeer python{{KOMBU_TEST_PEER, broker_url()}};

    std::mutex mutex;
    std::map<std::size_t, int> handled;
    ConsumerLoop loop{broker, {topology.queue}, {.consumer = {.prefetch_count = 20}, .threads = 3}};
    loop.on_message([&](std::size_t number) {
        const std::lock_guard lock{mutex};
        ++handled[number];
    });
    BackgroundLoop running{loop};
    auto there = std::async(std::launch::async, [&] {
        return python({{"do", "work"}, {"queue", queue}, {"first", 0}, {"count", each}, {"idle", 2}})["handled"];
    });
    Producer producer{connection};
    for (std::size_t n = each; n < 2 * each; ++n)
        producer.publish(n, {.exchange = topology.exchange, .routing_key = "key"});
    const Json by_python = there.get();
    CHECK(eventually([&] {
        const std::lock_guard lock{mutex};
        return handled.size() + by_python.size() >= 2 * each;
    }));
    running.stop();
    const std::size_t by_loop = handled.size();
    for (const Json& number : by_python) ++handled[number];
    CHECK(handled.size() == 2 * each);
    CHECK(std::ranges::all_of(handled, [](const auto& entry) { return entry.second == 1; }));
    CHECK(by_loop > 0);
    CHECK(by_python.size() > 0);
    CHECK(connection.simple_queue(topology.queue).qsize() == 0);
}

TEST_CASE("N28 Celery and a loop share a queue, and each task is handled once by one of them",
          "[interop][loop][celery]") {
    const std::string tasks = unique("celery.shared"), results = unique("celery.results");
    const std::size_t each = messages_of_each_side(300);
    const Connection broker{broker_url()};
    Connection connection{broker};
    PythonPeer worker{{KOMBU_TEST_CELERY, broker_url(), tasks}};
    SimpleQueue replies = connection.simple_queue(results, {.no_ack = true});
    REQUIRE(replies.qsize() == 0);  // declares it
    const Queue queue{tasks, Exchange{tasks}, tasks};

    std::mutex mutex;
    std::map<std::size_t, int> handled;
    ConsumerLoop loop{broker, {queue}, {.consumer = {.prefetch_count = 4}}};
    loop.on_message([&](const Message& message) {
        // [args, kwargs, embed]. As slow as Celery, so that both get a share.
        const auto number = message.payload().at(0).at(0).get<std::size_t>();
        std::this_thread::sleep_for(1ms);
        const std::lock_guard lock{mutex};
        ++handled[number];
    });
    BackgroundLoop running{loop};
    auto there = std::async(std::launch::async, [&] { worker({{"send", {0, each, results}}}); });
    Producer producer{connection};
    for (std::size_t n = each; n < 2 * each; ++n)
        celery::send_task(producer, "tasks.add", {n}, Json::object(), {.queue = tasks, .reply_to = results});
    there.get();
    std::map<std::size_t, int> by_celery;
    CHECK(eventually(
        [&] {
            while (replies.qsize() != 0) ++by_celery[replies.get().payload().at("result").at(0).get<std::size_t>()];
            const std::lock_guard lock{mutex};
            return handled.size() + by_celery.size() >= 2 * each;
        },
        60s));
    running.stop();
    CHECK(handled.size() > 0);
    CHECK(by_celery.size() > 0);
    for (const auto& [number, count] : by_celery) handled[number] += count;
    CHECK(handled.size() == 2 * each);
    CHECK(std::ranges::all_of(handled, [](const auto& entry) { return entry.second == 1; }));
    worker.kill();
    auto channel = connection.channel();
    for (const std::string& name : {tasks, results}) {
        channel.queue_delete(name);
        channel.exchange_delete(name);
    }
}
