// SPDX-License-Identifier: BSD-3-Clause
// A service that one can look at while it runs: a status page, and metrics for Prometheus on the same port.
//
//     observed_service [URL [ADDRESS]]       default: the embedded broker, 127.0.0.1:8080
//
// It publishes orders and handles them. http://127.0.0.1:8080/ is the page, /metrics is for Prometheus, /healthz says
// whether the broker can be reached. SIGINT and SIGTERM stop it.
#include <kombu/kombu.hpp>
#include <kombu/status.hpp>

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <stop_token>
#include <string>
#include <thread>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

const kombu::Queue orders{"orders"};

/// Publishes some orders a second, also after outages: an order that is refused is told and left out.
void take_orders(const kombu::Connection& broker, const std::stop_token& stop) {
    for (int number = 1; !stop.stop_requested(); ++number) {
        try {
            auto producer = pools::producers[broker].acquire({.block = true, .timeout = 2s});
            producer->publish({{"order", number}}, {.routing_key = orders.name(), .declare = {orders}, .timeout = 2s});
        } catch (const kombu::Error& error) {
            std::cerr << "order " << number << ": " << error.what() << '\n';
        }
        std::this_thread::sleep_for(50ms);
    }
}

}  // namespace

int main(int argc, char** argv) try {
    // Before the first thread: all of them leave the signals to sigwait.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    const kombu::Connection broker{argc > 1 ? argv[1] : "memory://orders"};
    // A name for the page and the metrics, and a word in the log when a lease is forgotten.
    pools::connections.configure(broker, {.limit = 5, .leak_threshold = 30s, .name = "orders"});

    const kombu::status::StatusServer status{argc > 2 ? argv[2] : "127.0.0.1:8080", {.title = "order service"}};
    std::cout << "look at " << status.url() << std::endl;

    kombu::ConsumerLoop loop{broker, {orders}, {.threads = 2}};
    loop.on_message([](kombu::Message&) { std::this_thread::sleep_for(10ms); });
    std::jthread handler{[&](const std::stop_token& stop) { loop.run(stop); }};
    std::jthread publisher{[&](const std::stop_token& stop) { take_orders(broker, stop); }};

    int signal = 0;
    sigwait(&signals, &signal);
    publisher.request_stop();
    publisher.join();
    handler.request_stop();
    handler.join();
    std::cout << loop.stats().acknowledged << " orders handled\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "observed_service: " << error.what() << '\n';
    return 1;
}
