// SPDX-License-Identifier: BSD-3-Clause
// A service that handles jobs on four threads, retries those that fail, and stops politely.
//
//     worker [URL [SECONDS]]       on the embedded broker, which then has a job to do, for a second by default
//
// SIGINT and SIGTERM stop it: handlers that run have ten seconds to end.
#include <kombu/kombu.hpp>

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stop_token>
#include <string>
#include <thread>

using namespace std::chrono_literals;

namespace {

struct Job {
    std::string name{};
    int pages = 0;
    friend void to_json(kombu::Json& json, const Job& job) { json = {{"name", job.name}, {"pages", job.pages}}; }
    friend void from_json(const kombu::Json& json, Job& job) {
        json.at("name").get_to(job.name);
        json.at("pages").get_to(job.pages);
    }
};

void print(const Job& job, const kombu::Message& message) {
    std::cout << (message.redelivered() ? "printing again " : "printing ") + job.name + "\n" << std::flush;
    if (job.pages == 0) throw std::invalid_argument("nothing to print");
}

}  // namespace

int main(int argc, char** argv) try {
    const kombu::Connection broker{argc > 1 ? argv[1] : "memory://worker"};
    const auto limit = std::chrono::seconds{argc > 2 ? std::atoi(argv[2]) : argc > 1 ? 86'400 : 1};
    const kombu::Queue jobs{"print.jobs"};

    // Before the first thread: all of them leave the signals to sigtimedwait.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    if (argc < 3) {
        auto producer = kombu::pools::producers[broker].acquire({.block = true, .timeout = 5s});
        producer->publish(Job{"letter.pdf", 2}, {.routing_key = jobs.name(), .declare = {jobs}});
        producer->publish(Job{"empty.pdf", 0}, {.routing_key = jobs.name()});
    }

    kombu::ConsumerLoop loop{broker,
                             {jobs},
                             {.consumer = {.prefetch_count = 20},
                              .threads = 4,
                              .on_failure = {.then = kombu::FailurePolicy::retry,
                                             .max_attempts = 3,
                                             .interval_start = 100ms,
                                             .interval_step = 100ms},
                              .drain_timeout = 10s}};
    loop.on_message([](const Job& job, kombu::Message& message) { print(job, message); });

    std::stop_source stop;
    std::thread waiter{[&] {
        const timespec time{limit.count(), 0};
        sigtimedwait(&signals, nullptr, &time);
        stop.request_stop();
    }};
    const kombu::StopReport report = loop.run(stop.get_token());
    stop.request_stop();
    waiter.join();
    const kombu::ConsumerStats stats = loop.stats();
    std::cout << report.handled << " handled, " << stats.acknowledged << " done, " << stats.retried << " retried, "
              << stats.rejected << " given up\n";
    return report.in_time ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
