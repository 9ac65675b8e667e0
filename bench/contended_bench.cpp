// SPDX-License-Identifier: BSD-3-Clause
// More threads than resources, each held for the time of an I/O: throughput, waits and fairness, compared with a
// textbook pool; and a spike of callers on a pool whose resources are slow to create.
//
//   contended_bench io [SECONDS] [ROUNDS]
//   contended_bench spike          lines of "pool,caller,begin_ms,wait_ms,end_ms,connections"
#include "textbook_pool.hpp"

#include <kombu/pool/resource_pool.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

kombu::ResourceFactory<Stub> stubs(std::chrono::milliseconds connect = 0ms) {
    kombu::ResourceFactory<Stub> factory;
    factory.create = [connect](kombu::Deadline) {
        if (connect > 0ms) std::this_thread::sleep_for(connect);
        return std::make_shared<Stub>();
    };
    return factory;
}

struct Outcome {
    double per_second = 0, p50_us = 0, p99_us = 0, fairness = 0;
};

template <class Acquire>
Outcome run_io_load(int threads, std::chrono::duration<double> length, Acquire acquire) {
    std::vector<std::vector<float>> waits(static_cast<std::size_t>(threads));
    std::atomic<bool> done{false};
    std::latch start{threads + 1};
    std::vector<std::thread> all;
    for (auto& mine : waits)
        all.emplace_back([&] {
            mine.reserve(1 << 20);
            start.arrive_and_wait();
            while (!done.load(std::memory_order_relaxed)) {
                const auto begin = Clock::now();
                auto lease = acquire();
                mine.push_back(std::chrono::duration<float, std::micro>(Clock::now() - begin).count());
                std::this_thread::sleep_for(50us);
            }
        });
    start.arrive_and_wait();
    const auto begin = Clock::now();
    std::this_thread::sleep_for(length);
    done = true;
    for (auto& thread : all) thread.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::vector<float> sorted;
    std::size_t least = ~std::size_t{0}, most = 0;
    for (const auto& mine : waits) {
        sorted.insert(sorted.end(), mine.begin(), mine.end());
        least = std::min(least, mine.size());
        most = std::max(most, mine.size());
    }
    std::sort(sorted.begin(), sorted.end());
    return {static_cast<double>(sorted.size()) / seconds, sorted[sorted.size() / 2], sorted[sorted.size() * 99 / 100],
            static_cast<double>(least) / static_cast<double>(most)};
}

void print(const char* name, int threads, std::size_t limit, const Outcome& outcome) {
    std::printf("%-9s %2d/%-2zu %9.0f /s   wait p50 %7.1f us   p99 %7.1f us   least/most %.3f\n", name, threads, limit,
                outcome.per_second, outcome.p50_us, outcome.p99_us, outcome.fairness);
}

void io(double seconds, int rounds) {
    for (const auto& [threads, limit] : {std::pair{4, std::size_t{2}}, std::pair{16, std::size_t{8}}}) {
        std::vector<double> throughput, p99, fairness;
        for (int round = 0; round < rounds; ++round) {
            const std::chrono::duration<double> length{seconds};
            TextbookPool textbook{limit};
            const Outcome theirs = run_io_load(threads, length, [&] { return textbook.acquire(); });
            kombu::ResourcePool<Stub> pool{stubs(), {.limit = limit}};
            const Outcome ours = run_io_load(threads, length, [&] { return pool.acquire({.block = true}); });
            print("textbook", threads, limit, theirs);
            print("kombu", threads, limit, ours);
            throughput.push_back(ours.per_second / theirs.per_second);
            p99.push_back(ours.p99_us / theirs.p99_us);
            fairness.push_back(ours.fairness);
        }
        const auto median = [](std::vector<double> values) {
            std::sort(values.begin(), values.end());
            return values[values.size() / 2];
        };
        std::printf(
            "%d threads, limit %zu, medians of %d: throughput %.2f x, p99 wait %.2f x the textbook pool's; "
            "least served / most served %.3f\n\n",
            threads, limit, rounds, median(throughput), median(p99), median(fairness));
    }
}

void spike_on(const char* name, kombu::PoolOptions options) {
    constexpr int callers = 50;
    options.limit = callers;
    options.preload = 5;
    options.maintain_in_background = false;
    kombu::ResourcePool<Stub> pool{stubs(150ms), options};
    pool.warm_up(5);
    struct Call {
        Clock::time_point begin, served, end;
        std::size_t connections;
    };
    std::vector<Call> calls(callers);
    std::latch start{callers};
    std::vector<std::thread> all;
    for (auto& call : calls)
        all.emplace_back([&] {
            start.arrive_and_wait();
            call.begin = Clock::now();
            {
                auto lease = pool.acquire({.block = true, .timeout = 30s});
                call.served = Clock::now();
                std::this_thread::sleep_for(2ms);
            }
            call.end = Clock::now();
            const auto stats = pool.stats();
            call.connections = stats.in_use + stats.idle + stats.connecting;
        });
    for (auto& thread : all) thread.join();
    auto first = calls.front().begin;
    for (const Call& call : calls) first = std::min(first, call.begin);
    const auto ms = [](auto duration) { return std::chrono::duration<double, std::milli>(duration).count(); };
    double last = 0;
    std::sort(calls.begin(), calls.end(), [](const Call& a, const Call& b) { return a.served < b.served; });
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const Call& call = calls[i];
        last = std::max(last, ms(call.end - first));
        std::printf("%s,%zu,%.3f,%.3f,%.3f,%zu\n", name, i, ms(call.begin - first), ms(call.served - call.begin),
                    ms(call.end - first), call.connections);
    }
    std::fprintf(stderr, "%s: %llu connections made for 50 callers, the last was done after %.0f ms\n", name,
                 static_cast<unsigned long long>(pool.stats().created), last);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string what = argc > 1 ? argv[1] : "io";
    if (what == "io") {
        io(argc > 2 ? std::atof(argv[2]) : 1.0, argc > 3 ? std::atoi(argv[3]) : 5);
    } else if (what == "spike") {
        std::printf("pool,caller,begin_ms,wait_ms,end_ms,connections\n");
        spike_on("max_connecting 5", {});
        spike_on("max_connecting 1", {.max_connecting = 1});
        spike_on("any number connecting", {.max_connecting = 0});
    } else {
        std::fprintf(stderr, "usage: contended_bench io [SECONDS] [ROUNDS] | spike\n");
        return 2;
    }
}
