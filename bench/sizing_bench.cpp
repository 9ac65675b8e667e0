// SPDX-License-Identifier: BSD-3-Clause
// How long callers wait for a lease, by the limit of the pool, beside what queueing theory (Erlang C) says of the same
// load. Callers come at random, hold their resource for a random time, asleep as in I/O, and come again.
//
//     sizing_bench [RATE [HOLD-MS [SECONDS]]]     default: 2000 calls a second, 5 ms, 5 s for each limit
#include <kombu/pool/resource_pool.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Seconds = std::chrono::duration<double>;

namespace {

/// The probability that a caller must wait, with `limit` resources of which `busy` are in use on average.
double erlang_c(double busy, int limit) {
    double blocked = 1;  // Erlang B, by its recursion
    for (int n = 1; n <= limit; ++n) blocked = busy * blocked / (n + busy * blocked);
    return blocked / (1 - busy / limit * (1 - blocked));
}

struct Measured {
    std::vector<double> waits{};
    double held = 0;
    double elapsed = 0;
};

Measured measure(std::size_t limit, double rate, double hold, double seconds) {
    constexpr int callers = 200;
    kombu::ResourceFactory<int> factory;
    factory.create = [](const kombu::Acquisition&) { return std::make_shared<int>(); };
    kombu::ResourcePool<int> pool{factory, {.limit = limit, .max_connecting = limit}};
    Measured all;
    std::mutex mutex;
    const auto begin = std::chrono::steady_clock::now();
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < callers; ++i)
            threads.emplace_back([&, i] {
                std::seed_seq seed{i};
                std::mt19937 random{seed};
                std::exponential_distribution<double> next{rate / callers}, use{1 / hold};
                Measured own;
                for (auto due = begin; due < begin + Seconds{seconds};) {
                    due += std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds{next(random)});
                    std::this_thread::sleep_until(due);
                    const auto asked = std::chrono::steady_clock::now();
                    const auto lease = pool.acquire({.block = true});
                    const auto got = std::chrono::steady_clock::now();
                    std::this_thread::sleep_for(Seconds{use(random)});
                    own.waits.push_back(Seconds{got - asked}.count());
                    own.held += Seconds{std::chrono::steady_clock::now() - got}.count();
                }
                const std::lock_guard lock{mutex};
                all.waits.insert(all.waits.end(), own.waits.begin(), own.waits.end());
                all.held += own.held;
            });
    }
    all.elapsed = Seconds{std::chrono::steady_clock::now() - begin}.count();
    std::ranges::sort(all.waits);
    return all;
}

}  // namespace

int main(int argc, char** argv) {
    const double rate = argc > 1 ? std::atof(argv[1]) : 2000, hold = (argc > 2 ? std::atof(argv[2]) : 5) / 1000;
    const double seconds = argc > 3 ? std::atof(argv[3]) : 5;
    if (!(rate > 0 && hold > 0 && seconds > 0)) {
        std::fprintf(stderr, "usage: sizing_bench [RATE [HOLD-MS [SECONDS]]]\n");
        return 2;
    }
    std::printf("%.0f calls a second that hold a resource for %.1f ms: %.1f in use on average\n", rate, hold * 1000,
                rate * hold);
    std::printf("| limit | in use | must wait, predicted | measured | mean wait, predicted | measured | 99 %% |\n");
    std::printf("|---|---|---|---|---|---|---|\n");
    for (const double factor : {1.1, 1.2, 1.3, 1.5, 2.0}) {
        const int limit = static_cast<int>(std::ceil(rate * hold * factor - 1e-9));
        const Measured all = measure(static_cast<std::size_t>(limit), rate, hold, seconds);
        const double count = static_cast<double>(all.waits.size()), mean_hold = all.held / count;
        const double busy = all.held / all.elapsed, waiting = erlang_c(busy, limit);
        double total = 0, waited = 0;
        for (const double wait : all.waits) {
            total += wait;
            waited += wait > 50e-6 ? 1 : 0;  // more than an acquire and a switch of threads take
        }
        std::printf("| %d | %.1f (%.0f %%) | %.0f %% | %.0f %% | %.2f ms | %.2f ms | %.1f ms |\n", limit, busy,
                    100 * busy / limit, 100 * waiting, 100 * waited / count,
                    1000 * waiting * mean_hold / (limit - busy), 1000 * total / count,
                    1000 * all.waits[static_cast<std::size_t>(count * 0.99)]);
    }
}
