// SPDX-License-Identifier: BSD-3-Clause
// 10,000 coroutines on one thread and 8 connections, compared with 8 threads with the blocking calls and with a
// coroutine that only writes to a socket.
//
//   async_bench [SECONDS] [URL]   without a URL: against a built-in peer that discards everything (sink.hpp)
//   async_bench count MESSAGES    so many without confirms by 100 coroutines, for counting their instructions
#include "sink.hpp"

#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

constexpr std::size_t connections_limit = 8;
constexpr int coroutines = 10000;

/// Bytes allocated in the main arena, the only one that the main thread uses.
std::ptrdiff_t allocated() { return static_cast<std::ptrdiff_t>(::mallinfo2().uordblks); }

double processor_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Figures {
    double per_second = 0;
    double processor_us = 0;
};

struct Measurement {
    Clock::time_point begin = Clock::now();
    double processor = processor_seconds();
    Figures figures(std::uint64_t messages) const {
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        const auto count = static_cast<double>(messages);
        return {count / seconds, (processor_seconds() - processor) / count * 1e6};
    }
};

void print(const char* what, const Figures& figures, const Figures& baseline) {
    std::printf("%-62s %9.0f /s  %6.2f us CPU  %5.2f x /s  %5.2f x CPU\n", what, figures.per_second,
                figures.processor_us, figures.per_second / baseline.per_second,
                figures.processor_us / baseline.processor_us);
    std::fflush(stdout);
}

struct Pools {
    Pools(const std::string& url, bool confirms)
        : connection(url, {.transport_options = {{"confirm_publish", confirms}}}) {
        connections[connection].warm_up(connections_limit, 10s);
        for (std::size_t i = 0; i < connections_limit; ++i) leases.push_back(connections[connection].acquire());
        for (auto& lease : leases) lease->default_channel();
        leases.clear();
    }
    Connection connection;
    pools::Connections connections{{.limit = connections_limit}};
    pools::Producers producers{{.limit = connections_limit, .connections = &connections}};
    std::vector<Lease<Connection>> leases;
    const Json body{{"n", 12345}, {"kind", "measurement"}};
    const PublishOptions options{.routing_key = "of nobody"};
};

asio::awaitable<void> publish_until(Pools& pools, Clock::time_point end, std::uint64_t& mine) {
    while (Clock::now() < end) {
        auto producer = co_await pools.producers[pools.connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        co_await producer->async_publish(pools.body, pools.options, asio::use_awaitable);
        ++mine;
    }
}

struct AsyncFigures {
    Figures figures;
    double fairness = 0;
    std::ptrdiff_t allocated_growth = 0;
};

asio::awaitable<void> publish_some(Pools& pools, int messages) {
    for (int i = 0; i < messages; ++i) {
        auto producer = co_await pools.producers[pools.connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        co_await producer->async_publish(pools.body, pools.options, asio::use_awaitable);
    }
}

void publish_by_count(Pools& pools, int messages) {
    constexpr int publishers = 100;
    asio::io_context io{1};
    for (int i = 0; i < publishers; ++i) asio::co_spawn(io, publish_some(pools, messages / publishers), asio::detached);
    io.run();
}

AsyncFigures measure_async(Pools& pools, std::chrono::milliseconds time) {
    asio::io_context io{1};
    std::vector<std::uint64_t> counts(coroutines);
    AsyncFigures result;
    const Measurement measured;
    const auto end = measured.begin + time;
    for (auto& mine : counts)
        asio::co_spawn(io, publish_until(pools, end, mine), [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        });
    io.run_for(time / 4);
    const auto early = allocated();
    io.run_for(time / 2);
    result.allocated_growth = allocated() - early;
    io.run();
    std::uint64_t total = 0;
    for (const auto count : counts) total += count;
    result.figures = measured.figures(total);
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
    result.fairness = static_cast<double>(*least) / static_cast<double>(*most);
    return result;
}

Figures measure_blocking(Pools& pools, std::chrono::milliseconds time) {
    std::vector<std::thread> threads;
    std::atomic<std::uint64_t> total{0};
    const Measurement measured;
    const auto end = measured.begin + time;
    for (std::size_t i = 0; i < connections_limit; ++i)
        threads.emplace_back([&] {
            std::uint64_t mine = 0;
            for (; Clock::now() < end; ++mine)
                pools.producers[pools.connection]
                    .acquire({.block = true, .timeout = 60s})
                    ->publish(pools.body, pools.options);
            total += mine;
        });
    for (auto& thread : threads) thread.join();
    return measured.figures(total);
}

/// One coroutine for each socket, which only writes messages of the given size.
Figures measure_bare_writes(std::uint16_t port, std::size_t size, std::size_t sockets, std::chrono::milliseconds time) {
    asio::io_context io{1};
    std::uint64_t count = 0;
    std::optional<Measurement> measured;
    const auto write = [&]() -> asio::awaitable<void> {
        asio::ip::tcp::socket socket{io};
        const asio::ip::tcp::endpoint endpoint{asio::ip::address_v4::loopback(), port};
        co_await socket.async_connect(endpoint, asio::use_awaitable);
        socket.set_option(asio::ip::tcp::no_delay{true});
        const std::string hello = "RAW.....";
        co_await asio::async_write(socket, asio::buffer(hello), asio::use_awaitable);
        const std::string message(size, 'x');
        if (!measured) measured.emplace();
        for (const auto end = measured->begin + time; Clock::now() < end; ++count)
            co_await asio::async_write(socket, asio::buffer(message), asio::use_awaitable);
    };
    for (std::size_t i = 0; i < sockets; ++i) asio::co_spawn(io, write(), asio::detached);
    io.run();
    return measured->figures(count);
}

asio::awaitable<void> wait_for_lease(pools::ConnectionPool& pool) {
    (void)co_await pool.async_acquire({.timeout = 60s}, asio::use_awaitable);
}
asio::awaitable<void> wait_for_timer(asio::steady_timer& timer) { co_await timer.async_wait(asio::use_awaitable); }

/// The bytes allocated for each waiting coroutine, its own frames included.
template <class Wait>
double bytes_per_coroutine(asio::io_context& io, Wait wait) {
    const auto before = allocated();
    for (int i = 0; i < coroutines; ++i) asio::co_spawn(io, wait(i), asio::detached);
    while (io.poll() != 0) {
    }
    return static_cast<double>(allocated() - before) / coroutines;
}

void print_bytes() {
    {
        pools::ConnectionPool pool{Connection{"memory://bytes"}, {.limit = 1}};
        asio::io_context io{1};
        const auto held = pool.acquire();
        const double bytes = bytes_per_coroutine(io, [&](int) { return wait_for_lease(pool); });
        std::printf(
            "a coroutine that waits for a lease with a timeout: %.0f bytes, its own frames included (%zu wait)\n",
            bytes, pool.stats().waiting);
        pool.close();
        io.run();
    }
    asio::io_context io{1};
    std::vector<std::unique_ptr<asio::steady_timer>> timers;
    for (int i = 0; i < coroutines; ++i) timers.push_back(std::make_unique<asio::steady_timer>(io, 60s));
    const double bytes =
        bytes_per_coroutine(io, [&](int i) { return wait_for_timer(*timers[static_cast<std::size_t>(i)]); });
    std::printf("a coroutine that waits for a steady_timer made before: %.0f bytes\n", bytes);
    timers.clear();
    io.run();
}

void run_all(const std::string& url, const Sink* sink, std::chrono::milliseconds time) {
    std::size_t size = 150;
    Figures baseline;
    if (sink) {
        // The size of the library's messages.
        Pools pools{url, false};
        const auto bytes = sink->bytes(), messages = sink->messages();
        measure_blocking(pools, 50ms);
        std::this_thread::sleep_for(100ms);  // the sink catches up
        size = (sink->bytes() - bytes) / (sink->messages() - messages);
        baseline = measure_bare_writes(sink->port(), size, 1, time);
        std::printf("messages of %zu bytes; 'x' is against the first line\n", size);
        print("a bare coroutine: async_write, one socket", baseline, baseline);
        print("8 of them, one thread", measure_bare_writes(sink->port(), size, connections_limit, time), baseline);
    }
    for (const bool confirms : {false, true}) {
        Pools pools{url, confirms};
        const Figures threads = measure_blocking(pools, time);
        if (baseline.per_second == 0) baseline = threads;
        print(confirms ? "8 threads, blocking, confirmed" : "8 threads, blocking, without confirms", threads, baseline);
        const AsyncFigures tasks = measure_async(pools, time);
        print(confirms ? "10,000 coroutines, one thread, confirmed" : "10,000 coroutines, one thread, without confirms",
              tasks.figures, baseline);
        std::printf(
            "    against the threads: %.2f x /s, %.2f x CPU; least / most served %.2f; memory grew by %td bytes\n",
            tasks.figures.per_second / threads.per_second, tasks.figures.processor_us / threads.processor_us,
            tasks.fairness, tasks.allocated_growth);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3 && std::string{argv[1]} == "count") {
        const Sink sink;
        Pools pools{"amqp://127.0.0.1:" + std::to_string(sink.port()) + "//", false};
        publish_by_count(pools, std::atoi(argv[2]));
        return 0;
    }
    const std::chrono::milliseconds time{static_cast<int>((argc > 1 ? std::atof(argv[1]) : 2.0) * 1000)};
    if (argc > 2) {
        run_all(argv[2], nullptr, time);
        return 0;
    }
    const Sink sink;
    run_all("amqp://127.0.0.1:" + std::to_string(sink.port()) + "//", &sink, time);
    print_bytes();
}
