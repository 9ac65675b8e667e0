// SPDX-License-Identifier: BSD-3-Clause
// fork() while a loop runs, on the broker of KOMBU_TEST_URL.
#include "support/background_loop.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"

#include <atomic>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE("N26 forks under load take nothing from a loop, and its children can use the broker", "[fork][loop]") {
    const Topology topology;
    const Connection broker{broker_url()};
    Connection connection{broker};
    connection.channel().declare(topology.queue);
    std::atomic<int> handled{0}, published{0};
    ConsumerLoop loop{broker, {topology.queue}, {.consumer = {.prefetch_count = 20}, .threads = 2}};
    loop.on_message([&](Message&) { ++handled; });
    BackgroundLoop running{loop};
    std::atomic<bool> done{false};
    std::string error;
    std::thread load{[&] {
        try {
            Producer producer{connection};
            while (!done) {
                producer.publish(published.load(), {.exchange = topology.exchange, .routing_key = "key"});
                ++published;
                std::this_thread::sleep_for(200us);
            }
        } catch (const std::exception& failure) {
            error = failure.what();
        }
    }};
    CHECK(eventually([&] { return handled > 0; }));
    for (int i = 0; i < 100; ++i) {
        const std::string failure = in_child([&]() -> std::string {
            if (i % 10 != 0) return "";
            if (broker.transport() == "memory") return "";  // a child has a broker of its own
            Connection own{broker};
            const std::uint32_t consumers =
                own.channel().queue_declare(Queue{topology.queue.name(), {.passive = true}}).consumers;
            return consumers == 1 || on_redis() ? "" : "the loop no longer consumes";
        });
        REQUIRE(failure.empty());
    }
    done = true;
    load.join();
    CHECK(error.empty());
    CHECK(eventually([&] { return handled >= published; }));
    const StopReport report = running.stop();
    CHECK(report.in_time);
    CHECK(handled == published);
    const ConsumerStats stats = loop.stats();
    CHECK(stats.redelivered == 0);
    CHECK(stats.consumes == 1);
    CHECK(stats.late == 0);
    if (broker.transport() != "memory") CHECK(connection.simple_queue(topology.queue).qsize() == 0);
}
