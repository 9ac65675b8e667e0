// SPDX-License-Identifier: BSD-3-Clause
#include "bench_load.hpp"

#include <kombu/consumer_loop.hpp>
#include <kombu/pools.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

namespace kombu::command {
namespace {

using namespace std::chrono_literals;

/// The body begins with the time of its publish, as decimal nanoseconds of the steady clock.
constexpr std::size_t time_width = 20;

void write_time(std::string& body, Clock::time_point now) {
    char* const begin = body.data();
    const auto end = std::to_chars(begin, begin + time_width, now.time_since_epoch().count()).ptr;
    std::fill(end, begin + time_width, ' ');
}

std::chrono::nanoseconds time_since(const std::string& body) {
    Clock::rep sent = 0;
    std::from_chars(body.data(), body.data() + std::min(body.size(), time_width), sent);
    return Clock::now().time_since_epoch() - Clock::duration{sent};
}

struct Publisher {
    std::atomic<std::uint64_t> published{0}, errors{0};
    LatencyRecorder acquire{}, publish{};
};
struct Receiver {
    std::atomic<std::uint64_t> received{0};
    LatencyRecorder transit{};
};

class Bench {
public:
    Bench(const Connection& broker, const std::string& queue, const BenchOptions& options)
        : broker_(broker),
          queue_(queue),
          options_(options),
          publishers_(options.threads),
          receivers_(options.consumers) {}

    BenchResult run(StopSignal& stop, const std::function<void(const BenchSecond&)>& on_second) {
        broker_pools_.connections[broker_].warm_up(options_.limit, 30s);
        std::vector<std::jthread> threads;
        for (Receiver& receiver : receivers_)
            threads.emplace_back([this, &receiver](const std::stop_token& token) { receive(receiver, token); });
        start_ = Clock::now();
        end_ = start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>{options_.seconds});
        for (Publisher& publisher : publishers_)
            threads.emplace_back([this, &publisher](const std::stop_token& token) { publish(publisher, token); });

        BenchResult result;
        BenchCounts before;
        double last = 0;
        for (auto next = start_ + 1s;; next += 1s) {
            const bool on_time = stop.wait_until(std::min(next, end_));
            const double now = std::chrono::duration<double>(Clock::now() - start_).count();
            const BenchCounts counts = count();
            result.by_second.push_back({now, now - last, counts - before});
            on_second(result.by_second.back());
            before = counts;
            last = now;
            if (!on_time || Clock::now() >= end_) break;
        }
        for (auto& thread : threads) thread.request_stop();
        threads.clear();
        result.seconds = last;
        result.total = before;
        const std::lock_guard lock{error_mutex_};
        result.last_error = last_error_;
        return result;
    }

private:
    void publish(Publisher& mine, const std::stop_token& stop) {
        std::string body(std::max(options_.size, time_width), 'x');
        const PublishOptions options{.routing_key = queue_};
        const double interval = options_.rate == 0 ? 0 : static_cast<double>(options_.threads) / options_.rate;
        for (std::uint64_t turn = 0; !stop.stop_requested(); ++turn) {
            if (interval != 0 && !await_turn(static_cast<double>(turn) * interval, stop)) return;
            const auto begin = Clock::now();
            if (begin >= end_) return;
            try {
                auto producer = broker_pools_.producers[broker_].acquire({.block = true, .timeout = 5s});
                const auto acquired = Clock::now();
                write_time(body, acquired);
                producer->publish(body, options);
                mine.publish.add(Clock::now() - acquired);
                mine.acquire.add(acquired - begin);
                mine.published.fetch_add(1, std::memory_order_relaxed);
            } catch (const Error& error) {
                mine.errors.fetch_add(1, std::memory_order_relaxed);
                record(error);
                std::this_thread::sleep_for(10ms);
            }
        }
    }

    /// Sleeps in pieces, so that a stop is noticed.
    bool await_turn(double seconds, const std::stop_token& stop) const {
        const auto due = start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>{seconds});
        while (Clock::now() < due) {
            if (stop.stop_requested() || Clock::now() >= end_) return false;
            std::this_thread::sleep_until(std::min(due, Clock::now() + 100ms));
        }
        return true;
    }

    void receive(Receiver& mine, const std::stop_token& stop) try {
        ConsumerLoop loop{broker_,
                          {Queue{queue_, QueueOptions{.no_declare = true}}},
                          {.consumer = {.prefetch_count = 500, .auto_declare = false}, .drain_timeout = 2s}};
        loop.on_message([&](Message& message) {
            mine.transit.add(time_since(message.raw_body()));
            mine.received.fetch_add(1, std::memory_order_relaxed);
        });
        loop.run(stop);
    } catch (const Error& error) {
        record(error);
    }

    void record(const Error& error) {
        const std::lock_guard lock{error_mutex_};
        last_error_ = error.what();
    }

    BenchCounts count() const {
        BenchCounts counts;
        // First what was received: it was published before.
        for (const Receiver& receiver : receivers_) {
            counts.received += receiver.received.load(std::memory_order_relaxed);
            receiver.transit.add_to(counts.transit);
        }
        for (const Publisher& publisher : publishers_) {
            counts.published += publisher.published.load(std::memory_order_relaxed);
            counts.errors += publisher.errors.load(std::memory_order_relaxed);
            publisher.acquire.add_to(counts.acquire);
            publisher.publish.add_to(counts.publish);
        }
        return counts;
    }

    struct Pools {
        explicit Pools(std::size_t limit)
            : connections({.limit = limit}), producers({.limit = limit, .connections = &connections}) {}
        pools::Connections connections;
        pools::Producers producers;
    };

    const Connection& broker_;
    const std::string queue_;
    const BenchOptions options_;
    Pools broker_pools_{options_.limit};
    std::vector<Publisher> publishers_;
    std::vector<Receiver> receivers_;
    Clock::time_point start_{}, end_{};
    std::mutex error_mutex_{};
    std::string last_error_{};
};

}  // namespace

BenchCounts BenchCounts::operator-(const BenchCounts& earlier) const noexcept {
    return {published - earlier.published, received - earlier.received, errors - earlier.errors,
            acquire - earlier.acquire,     publish - earlier.publish,   transit - earlier.transit};
}

BenchResult run_bench(const Connection& broker, const std::string& queue, const BenchOptions& options, StopSignal& stop,
                      const std::function<void(const BenchSecond&)>& on_second) {
    return Bench{broker, queue, options}.run(stop, on_second);
}

}  // namespace kombu::command
