// SPDX-License-Identifier: BSD-3-Clause
// Kombu and a loop in C++ on one queue, both publishing and consuming. Runs against RabbitMQ and Redis.
#include "support/background_loop.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/python_peer.hpp"

#include <future>
#include <map>
#include <mutex>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE("N28 Kombu and a loop share a queue, and each message is handled once by one of them", "[interop][loop]") {
    const Topology topology;
    const Json queue{topology.queue.name(), topology.exchange.name(), "direct", "key"};
    constexpr int each = 1500;
    const Connection broker{broker_url()};
    Connection connection{broker};
    connection.channel().declare(topology.queue);
    PythonPeer python{{KOMBU_TEST_PEER, broker_url()}};

    std::mutex mutex;
    std::map<int, int> handled;
    ConsumerLoop loop{broker, {topology.queue}, {.consumer = {.prefetch_count = 20}, .threads = 3}};
    loop.on_message([&](int number) {
        const std::lock_guard lock{mutex};
        ++handled[number];
    });
    BackgroundLoop running{loop};
    auto there = std::async(std::launch::async, [&] {
        return python({{"do", "work"}, {"queue", queue}, {"first", 0}, {"count", each}, {"idle", 2}})["handled"];
    });
    Producer producer{connection};
    for (int n = each; n < 2 * each; ++n) producer.publish(n, {.exchange = topology.exchange, .routing_key = "key"});
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
