// SPDX-License-Identifier: BSD-3-Clause
// A service with a status page, for tests that look at it from outside: status_probe URL ADDRESS [TOKEN]
//
// It prints the URL of the page, and then does what each line of its input says: acquire, release, publish N,
// wait (a caller that waits for a connection), hurry (one that waits for too short a time), stats. It answers each with
// a line.
#include <kombu/kombu.hpp>
#include <kombu/status.hpp>

#include <chrono>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

class Probe {
public:
    explicit Probe(const std::string& url) : broker_(url) {
        pools::connections.configure(broker_, {.limit = 3, .leak_threshold = 1s, .name = "orders"});
    }
    ~Probe() {
        leases_.clear();
        for (std::jthread& waiter : waiters_) waiter.join();
    }

    std::string answer(const std::string& line) {
        std::istringstream words{line};
        std::string word;
        words >> word;
        try {
            if (word == "acquire") {
                leases_.push_back(pools::connections[broker_].acquire({.block = true, .timeout = 10s}));
                leases_.back()->connect(10s);
            } else if (word == "release") {
                leases_.pop_back();
            } else if (word == "wait") {
                waiters_.emplace_back([this] {
                    try {
                        (void)pools::connections[broker_].acquire({.block = true, .timeout = 60s});
                    } catch (const kombu::Error&) {
                    }
                });
            } else if (word == "hurry") {
                (void)pools::connections[broker_].acquire({.block = true, .timeout = 10ms});
            } else if (word == "publish") {
                int count = 0;
                words >> count;
                auto producer = pools::producers[broker_].acquire({.block = true, .timeout = 10s});
                for (int i = 0; i < count; ++i) producer->publish("body", {.routing_key = "status.probe"});
            } else if (word == "stats") {
                return kombu::Json({{"pools", pools::stats()}, {"brokers", kombu::broker_stats()}}).dump();
            }
        } catch (const kombu::Error& error) {
            return error.what();
        }
        return "done";
    }

private:
    const kombu::Connection broker_;
    std::vector<kombu::Lease<kombu::Connection>> leases_{};
    std::vector<std::jthread> waiters_{};
};

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 3) return 2;
    kombu::status::StatusOptions options{.title = "orders <&> mail"};
    if (argc > 3) options.token = argv[3];
    Probe probe{argv[1]};
    const kombu::status::StatusServer status{argv[2], options};
    std::cout << status.url() << std::endl;
    for (std::string line; std::getline(std::cin, line);) std::cout << probe.answer(line) << std::endl;
} catch (const std::exception& error) {
    std::cerr << "status_probe: " << error.what() << '\n';
    return 1;
}
