// SPDX-License-Identifier: BSD-3-Clause
// A RabbitMQ cluster of three nodes, of which some are stopped, killed or suspended.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/publishers.hpp"

#include <kombu/kombu.hpp>

#include <array>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

constexpr std::array<int, 3> ports{KOMBU_TEST_CLUSTER_PORT, KOMBU_TEST_CLUSTER_PORT + 10, KOMBU_TEST_CLUSTER_PORT + 20};

void node(const std::string& action, int port) {
    const std::string command =
        std::string{KOMBU_TEST_RABBITMQ} + ' ' + action + ' ' + KOMBU_TEST_CLUSTER_DIR + ' ' + std::to_string(port);
    REQUIRE(std::system((command + " >/dev/null").c_str()) == 0);
}

std::string url_of(int port) { return "amqp://kombu:kombu-secret@127.0.0.1:" + std::to_string(port) + "/tests"; }

std::string cluster_url() { return url_of(ports[0]) + ";" + url_of(ports[1]) + ";" + url_of(ports[2]); }

/// A queue with a replica on each node, whose leader is on the node of this port.
Queue quorum_queue(const std::string& name, int port) {
    Queue queue{name, Exchange{}, name, {.queue_arguments = {{"x-queue-type", "quorum"}}}};
    Connection connection{url_of(port)};
    connection.channel().queue_delete(name);
    connection.channel().declare(queue);
    return queue;
}

/// The numbers in the queue, each as often as it is there.
std::multiset<int> drain(const Queue& queue) {
    Connection connection{cluster_url()};
    auto from = connection.simple_queue(queue, {.no_ack = true});
    std::multiset<int> numbers;
    try {
        for (;;) numbers.insert(from.get({.timeout = 3s}).payload().get<int>());
    } catch (const Empty&) {
    }
    return numbers;
}

Publishers::Settings endless_retry(const Queue& queue) {
    return {.threads = 4,
            .publish = {.routing_key = queue.name(),
                        .retry = true,
                        .retry_policy = {.max_retries = std::nullopt, .interval_max = 200ms},
                        .timeout = 60s,
                        // A message that is lost between two nodes is published again after this time.
                        .confirm_timeout = 5s},
            .acquire_timeout = 60s,
            .pause = 20ms};
}

void check_nothing_lost(const Publishers& publishers, const Queue& queue) {
    CHECK(publishers.errors() == std::vector<std::string>{});
    const std::multiset<int> arrived = drain(queue);
    std::size_t missing = 0;
    for (const int number : publishers.confirmed()) missing += arrived.contains(number) ? 0 : 1;
    CHECK(missing == 0);
}

}  // namespace

TEST_CASE("nodes that are stopped or killed in turn lose nothing and raise nothing under retry", "[cluster]") {
    const Queue queue = quorum_queue("cluster.retry", ports[0]);
    pools::Connections connections{{.limit = 4}};
    pools::Producers producers{{.limit = 4, .connections = &connections}};
    Publishers publishers{producers, Connection{cluster_url()}, endless_retry(queue)};
    const char* const wanted = std::getenv("KOMBU_TEST_KILLS");
    const int rounds = wanted ? std::atoi(wanted) : 2;
    for (int round = 0; round < rounds; ++round) {
        const int port = ports[static_cast<std::size_t>(round) % ports.size()];
        node(round % 2 == 0 ? "shutdown" : "kill", port);
        const auto gone = Clock::now();
        CHECK(eventually([&] { return publishers.all_published_since(gone); }, 30s));
        node("restart", port);
        node("await-quorum", port);  // as operators do: two nodes that are away stop a queue with three replicas
    }
    publishers.stop();
    INFO("the longest time without a confirmed message: "
         << std::chrono::duration<double>(publishers.longest_gap()).count() << " s");
    CHECK(publishers.longest_gap() < 10s);
    check_nothing_lost(publishers, queue);
}

TEST_CASE("a node that is suspended delays its users by its heartbeats at most", "[cluster]") {
    // The queue's leader runs on: how long another election takes is up to RabbitMQ.
    const Queue queue = quorum_queue("cluster.suspended", ports[1]);
    pools::Connections connections{{.limit = 4}};
    pools::Producers producers{{.limit = 4, .connections = &connections}};
    Publishers publishers{producers, Connection{cluster_url(), {.heartbeat = 1s}}, endless_retry(queue)};
    const auto begin = Clock::now();
    REQUIRE(eventually([&] { return publishers.all_published_since(begin); }));
    node("pause", ports[0]);
    const auto paused = Clock::now();
    const bool went_on = eventually([&] { return publishers.all_published_since(paused + 1ms); });
    const auto gap = publishers.longest_gap();
    node("resume", ports[0]);
    CHECK(went_on);
    INFO("the longest gap: " << std::chrono::duration<double>(gap).count() << " s");
    CHECK(gap < 6s);  // two heartbeats and a second, and what a busy machine adds
    publishers.stop();
    check_nothing_lost(publishers, queue);
}

TEST_CASE("with least-connections a pool spreads over the nodes, also after one has returned", "[cluster]") {
    ConnectionOptions options{.failover_strategy = "least-connections"};
    const Connection broker{cluster_url(), options};
    pools::ConnectionPool pool{broker, {.limit = 9}};
    const auto connect_all = [&] {  // at once, as after an outage
        std::vector<Lease<Connection>> leases;
        for (int i = 0; i < 9; ++i) leases.push_back(pool.acquire());
        std::vector<std::jthread> threads;
        for (Lease<Connection>& lease : leases) threads.emplace_back([&lease] { lease->connect(); });
    };
    /// Of this pool alone: the other connections of these tests are closed.
    const auto connections_of = [&](int port) {
        const std::string command = std::string{KOMBU_TEST_RABBITMQ} + " eval " + KOMBU_TEST_CLUSTER_DIR + ' ' +
                                    std::to_string(port) +
                                    " 'length(rabbit_networking:connections_local())' | grep -q 'ok, 3}'";
        return std::system(command.c_str()) == 0;
    };
    const auto is_spread = [&] { return std::ranges::all_of(ports, connections_of); };
    connect_all();
    CHECK(eventually(is_spread));
    node("kill", ports[2]);
    connect_all();
    node("restart", ports[2]);
    CHECK_FALSE(is_spread());
    CHECK(eventually([&] {  // a node that failed is avoided for some seconds
        pool.evict_if([](Connection&) { return true; });
        connect_all();
        return is_spread();
    }));
}
