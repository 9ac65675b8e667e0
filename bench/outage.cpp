// SPDX-License-Identifier: BSD-3-Clause
// What an outage of a broker costs: threads publish through pools while it is killed, and started again later.
//
//   outage URL KILL-COMMAND RESTART-COMMAND [SECONDS [THREADS]]
//
// Prints how many attempts to connect there were in any second, how late the latest call returned, and how long after
// the return of the broker the first and the last thread published again. The broker has returned when it accepts
// connections.
#include "../tests/support/publishers.hpp"

#include <kombu/kombu.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

class Attempts : public PoolObserver {
public:
    void connect_failed(const std::string&, const std::exception&) override {
        const std::lock_guard lock{mutex_};
        failures_.push_back(Clock::now());
    }
    std::size_t most_in_a_second() const {
        const std::lock_guard lock{mutex_};
        std::size_t most = 0, first = 0;
        for (std::size_t i = 0; i < failures_.size(); ++i) {
            while (failures_[i] - failures_[first] >= 1s) ++first;
            most = std::max(most, i - first + 1);
        }
        return most;
    }

private:
    mutable std::mutex mutex_;
    std::vector<Clock::time_point> failures_;
};

double milliseconds(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

template <class Condition>
void await(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
}

bool accepts(const Connection& broker) {
    try {
        Connection connection = broker;
        connection.connect({5s});
        return true;
    } catch (const ConnectionError&) {
        return false;
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 4) {
        std::fprintf(stderr, "usage: outage URL KILL-COMMAND RESTART-COMMAND [SECONDS [THREADS]]\n");
        return 2;
    }
    const std::string kill = arguments[2], restart = arguments[3];
    const double seconds = count > 4 ? std::atof(arguments[4]) : 10;
    const auto threads = static_cast<std::size_t>(count > 5 ? std::atoi(arguments[5]) : 16);

    const auto attempts = std::make_shared<Attempts>();
    const Connection broker{arguments[1]};
    pools::Connections connections{{.limit = threads, .observer = attempts}};
    pools::Producers producers{{.limit = threads, .connections = &connections}};
    const Queue queue{"outage"};
    Publishers publishers{
        producers,
        broker,
        {.threads = threads, .publish = {.routing_key = "outage", .declare = {queue}, .timeout = 2s}, .pause = 1ms}};
    const auto begin = Clock::now();
    await([&] { return publishers.all_published_since(begin); });
    if (std::system(kill.c_str()) != 0) return 2;
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    std::thread starter{[&] {
        if (std::system(restart.c_str()) != 0) std::exit(2);
    }};
    await([&] { return accepts(broker); });
    const auto returned = Clock::now();
    const std::uint64_t failures = publishers.failures();
    await([&] { return publishers.any_published_since(returned); });
    const auto first = Clock::now();
    await([&] { return publishers.all_published_since(returned); });
    const auto last = Clock::now();
    starter.join();
    publishers.stop();
    connections[broker].acquire()->simple_queue(queue).clear();
    std::printf("attempts to connect: %zu in any second; calls that failed: %llu\n", attempts->most_in_a_second(),
                static_cast<unsigned long long>(failures));
    std::printf("the latest call returned %.1f ms after its timeout of 2 s\n",
                std::max(0.0, milliseconds(publishers.latest())));
    std::printf("after the return of the broker the first thread published within %.0f ms, the last within %.0f ms\n",
                milliseconds(first - returned), milliseconds(last - returned));
    return 0;
}
