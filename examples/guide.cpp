// SPDX-License-Identifier: BSD-3-Clause
// Every step of Kombu's "Connection and Producer Pools" guide, with its outcome checked.
//
// Usage: guide [URL [SECOND_URL]]    (default: two brokers inside this program)
#include <kombu/kombu.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

void expect(bool outcome, const std::string& what) {
    if (!outcome) throw std::runtime_error("check failed: " + what);
    std::cout << "  " << what << "\n";
}

template <class Failure, class Action>
bool throws(Action action) {
    try {
        action();
    } catch (const Failure&) {
        return true;
    }
    return false;
}

void connection_pools(const kombu::Connection& broker, const kombu::Connection& second) {
    std::cout << "Connection pools\n";
    expect(&pools::connections[broker] == &pools::connections[broker.clone()], "equal connections share a pool");
    expect(&pools::connections[broker] != &pools::connections[second], "two brokers have two pools");

    auto lease = pools::connections[broker].acquire({.block = true});
    expect(lease->connect().connected(), "a leased connection connects on connect()");
    expect(pools::connections[broker].in_use() == 1, "it counts as in use");
    auto other = pools::connections[second].acquire({.block = true, .timeout = 5s});
    expect(other->connect().connected(), "both brokers can be used at once");
    lease.release();
    expect(pools::connections[broker].in_use() == 0, "a released lease no longer counts");
}

void producer_pools(const kombu::Connection& broker) {
    std::cout << "Producer pools\n";
    const kombu::Exchange news{"guide.news"};
    const kombu::Queue domestic{"guide.news.domestic", news, "domestic"};
    const kombu::Json article = {{"title", "Rain"}};

    auto connection = pools::connections[broker].acquire({.block = true});
    auto queue = connection->simple_queue(domestic);
    queue.clear();
    {
        auto producer = pools::producers[broker].acquire({.block = true});
        producer->publish(article, {.exchange = news, .routing_key = "domestic", .compression = "zlib"});
    }
    kombu::Message message = queue.get({.block = true, .timeout = 5s});
    expect(message.payload() == article, "what a pooled producer publishes arrives");
    message.ack();
}

void limits(const kombu::Connection& broker) {
    std::cout << "Limits\n";
    using kombu::ConnectionLimitExceeded;
    pools::Connections one{{.limit = 1}};
    auto held = one[broker].acquire();
    expect(throws<ConnectionLimitExceeded>([&] { (void)one[broker].acquire(); }), "a full pool throws at once");
    expect(throws<ConnectionLimitExceeded>([&] { (void)one[broker].acquire({.block = true, .timeout = 50ms}); }),
           "a full pool throws after the timeout");
    held.release();
    expect(static_cast<bool>(one[broker].acquire()), "a released connection can be acquired again");

    const auto before = pools::get_limit();
    auto lease = pools::connections[broker].acquire();
    pools::set_limit(before + 100);
    expect(pools::connections[broker].limit() == before + 100, "pools grow while they are in use");
    expect(throws<kombu::PoolInUse>([] { pools::set_limit(1); }), "they do not shrink while they are in use");
    pools::set_limit(before, {.ignore_errors = true});
    expect(pools::connections[broker].limit() == before, "they shrink in use with ignore_errors");
}

void custom_groups(const kombu::Connection& broker) {
    std::cout << "Custom groups\n";
    pools::Connections connections{{.limit = 5}};
    pools::Producers producers{{.limit = 5, .connections = &connections}};
    auto producer = producers[broker].acquire({.block = true});
    expect(connections[broker].in_use() == 1, "a group of producers can have connections of its own");
    pools::Connections follower{{.limit = pools::use_global_limit}};
    expect(follower[broker].limit() == pools::get_limit(), "a group can follow the global limit");
}

void reset(const kombu::Connection& broker) {
    std::cout << "Reset\n";
    auto& pool = pools::connections[broker];
    auto lease = pool.acquire();
    pools::reset();
    expect(pool.in_use() == 0, "after a reset no lease counts as in use");
    expect(static_cast<bool>(pool.acquire()), "and the same pool still works");
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const kombu::Connection broker{argc > 1 ? argv[1] : "memory://first"};
        const kombu::Connection second{argc > 2 ? argv[2] : "memory://second"};
        connection_pools(broker, second);
        producer_pools(broker);
        limits(broker);
        custom_groups(broker);
        reset(broker);
        std::cout << "guide ok\n";
    } catch (const std::exception& error) {
        std::cerr << "guide: " << error.what() << "\n";
        return 1;
    }
}
