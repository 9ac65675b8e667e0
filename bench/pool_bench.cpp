// What one acquire and release costs, as multiples of an uncontended mutex lock and unlock in the same run.
#include <kombu/kombu.hpp>

#include <benchmark/benchmark.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

struct Stub {};

kombu::ResourceFactory<Stub> stubs() {
    kombu::ResourceFactory<Stub> factory;
    factory.create = [](kombu::Deadline) { return std::make_shared<Stub>(); };
    return factory;
}

/// The pool of a textbook: one mutex, one condition variable, a stack.
class TextbookPool {
public:
    explicit TextbookPool(std::size_t size) {
        for (std::size_t i = 0; i < size; ++i) free_.push_back(std::make_unique<Stub>());
    }
    std::unique_ptr<Stub> acquire() {
        std::unique_lock lock{mutex_};
        available_.wait(lock, [&] { return !free_.empty(); });
        auto stub = std::move(free_.back());
        free_.pop_back();
        return stub;
    }
    void release(std::unique_ptr<Stub> stub) {
        {
            std::lock_guard lock{mutex_};
            free_.push_back(std::move(stub));
        }
        available_.notify_one();
    }

private:
    std::mutex mutex_;
    std::condition_variable available_;
    std::vector<std::unique_ptr<Stub>> free_;
};

std::mutex one_mutex;
void mutex_pair(benchmark::State& state) {
    for (auto _ : state) {
        one_mutex.lock();
        benchmark::ClobberMemory();
        one_mutex.unlock();
    }
}

TextbookPool textbook{16};
void textbook_pool(benchmark::State& state) {
    for (auto _ : state) textbook.release(textbook.acquire());
}

kombu::ResourcePool<Stub> resource_pool{stubs(), {.limit = 16}};
void acquire_release(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(resource_pool.acquire({.block = true}));
}

kombu::pools::Connections group{{.limit = 16}};
void group_acquire_release(benchmark::State& state) {
    const kombu::Connection broker{"memory://bench"};
    for (auto _ : state) benchmark::DoNotOptimize(group[broker].acquire({.block = true}));
}

void publish_to_memory(benchmark::State& state) {
    const kombu::Connection broker{"memory://bench"};
    const kombu::Json body = {{"n", 1}};
    for (auto _ : state)
        kombu::pools::producers[broker].acquire({.block = true})->publish(body, {.routing_key = "nobody"});
}

BENCHMARK(mutex_pair);
BENCHMARK(textbook_pool)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(acquire_release)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(group_acquire_release);
BENCHMARK(publish_to_memory);

}  // namespace

int main(int argc, char** argv) {
    // glibc leaves locks and atomics out of processes that have never had a second thread, which would flatter
    // everybody.
    std::jthread second{[](std::stop_token stop) {
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock{mutex};
        never.wait(lock, stop, [] { return false; });
    }};
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
