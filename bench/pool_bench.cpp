// SPDX-License-Identifier: BSD-3-Clause
// The cost of one acquire and release, beside that of an uncontended mutex lock and unlock in the same run.
#include "textbook_pool.hpp"

#include <kombu/kombu.hpp>

#include <benchmark/benchmark.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

kombu::ResourceFactory<Stub> stubs() {
    kombu::ResourceFactory<Stub> factory;
    factory.create = [](kombu::Deadline) { return std::make_shared<Stub>(); };
    return factory;
}

using StubPool = kombu::ResourcePool<Stub>;

std::unique_ptr<StubPool> stub_pool(const kombu::PoolOptions& options) {
    return std::make_unique<StubPool>(stubs(), options);
}

std::mutex one_mutex;
void mutex_pair(benchmark::State& state) {
    for (auto _ : state) {
        one_mutex.lock();
        benchmark::ClobberMemory();
        one_mutex.unlock();
    }
}

/// The scaling of the machine for threads that share nothing.
void mutex_pair_each_thread_its_own(benchmark::State& state) {
    alignas(64) std::mutex own;
    for (auto _ : state) {
        own.lock();
        benchmark::ClobberMemory();
        own.unlock();
    }
}

TextbookPool textbook{16};
void textbook_pool(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(textbook.acquire());
}

StubPool resource_pool{stubs(), {.limit = 16}};
void acquire_release(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(resource_pool.acquire({.block = true}));
}

/// As on a kernel without membarrier, where each release is an exchange.
void acquire_release_without_membarrier(benchmark::State& state) {
    std::atomic<bool>& membarrier = kombu::detail::process.membarrier;
    const bool had = membarrier.exchange(false);
    for (auto _ : state) benchmark::DoNotOptimize(resource_pool.acquire({.block = true}));
    membarrier = had;
}

void read_clock(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(kombu::Clock::now());
}
void read_coarse_clock(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(kombu::detail::coarse_now());
}

/// With a timeout, and a lease that is used.
void acquire_use_release(benchmark::State& state) {
    using namespace std::chrono_literals;
    for (auto _ : state) {
        auto stub = resource_pool.acquire({.block = true, .timeout = 5s});
        benchmark::DoNotOptimize(&*stub);
    }
}

void group_by_connection(benchmark::State& state) {
    static kombu::PoolGroup<kombu::Connection, StubPool> group{
        [](const kombu::Connection&, const kombu::PoolOptions& options) { return stub_pool(options); }, 16};
    const kombu::Connection connection{"amqp://guest:guest@localhost:5672//"};
    for (auto _ : state) {
        auto c = group[connection].acquire({.block = true});
        benchmark::DoNotOptimize(c.get());
    }
}

void group_by_text(benchmark::State& state) {
    static kombu::PoolGroup<std::string, StubPool> group{
        [](const std::string&, const kombu::PoolOptions& options) { return stub_pool(options); }, 16};
    const std::string connection = "amqp://guest:guest@localhost:5672//";
    for (auto _ : state) {
        auto c = group[connection].acquire({.block = true});
        benchmark::DoNotOptimize(c.get());
    }
}

using TextGroup = kombu::PoolGroup<std::string, StubPool>;
TextGroup text_group() {
    return TextGroup{[](const std::string&, const kombu::PoolOptions& options) { return stub_pool(options); }, 16};
}

/// Looks up three keys in turn: two of one length, and a long one.
void look_up_text(benchmark::State& state) {
    TextGroup group = text_group();
    const std::string keys[] = {std::string(20, 'a'), std::string(20, 'b'), std::string(150, 'c')};
    std::size_t next = 0;
    for (auto _ : state) benchmark::DoNotOptimize(&group[keys[next++ % 3]]);
}

/// Adds this many keys, and erases them again.
void add_and_erase_keys(benchmark::State& state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < count; ++i) keys.push_back("key" + std::to_string(i));
    for (auto _ : state) {
        TextGroup group = text_group();
        for (const std::string& key : keys) benchmark::DoNotOptimize(&group[key]);
        for (const std::string& key : keys) group.erase(key);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

/// Real connections, which are validated before each lease and recycled after it.
void connections_on_memory(benchmark::State& state) {
    const kombu::Connection connection{"memory://bench"};
    kombu::pools::connections[connection].acquire()->connect();
    for (auto _ : state) {
        auto c = kombu::pools::connections[connection].acquire({.block = true});
        benchmark::DoNotOptimize(c.get());
    }
}

void producers_on_memory(benchmark::State& state) {
    const kombu::Connection connection{"memory://bench"};
    for (auto _ : state) {
        auto producer = kombu::pools::producers[connection].acquire({.block = true});
        benchmark::DoNotOptimize(producer.get());
    }
}

void publish_to_memory(benchmark::State& state) {
    const kombu::Connection broker{"memory://bench"};
    const kombu::Json body = {{"n", 1}};
    for (auto _ : state)
        kombu::pools::producers[broker].acquire({.block = true})->publish(body, {.routing_key = "nobody"});
}

BENCHMARK(mutex_pair);
BENCHMARK(acquire_release);
BENCHMARK(acquire_release_without_membarrier);
BENCHMARK(read_clock);
BENCHMARK(read_coarse_clock);
BENCHMARK(acquire_use_release);
BENCHMARK(group_by_connection);
BENCHMARK(group_by_text);
BENCHMARK(look_up_text);
BENCHMARK(add_and_erase_keys)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK(connections_on_memory);
BENCHMARK(producers_on_memory);
BENCHMARK(publish_to_memory);
BENCHMARK(mutex_pair_each_thread_its_own)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(textbook_pool)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(acquire_release)->ThreadRange(1, 16)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
    // glibc omits locks and atomics in processes that have never had a second thread, which would make all results too
    // good.
    std::jthread second{[](std::stop_token stop) {
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock{mutex};
        never.wait(lock, stop, [] { return false; });
    }};
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
