// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "latency.hpp"
#include "stop_signal.hpp"

#include <kombu/connection.hpp>
#include <kombu/json.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace kombu::command {

struct BenchOptions {
    std::size_t threads = 4;    ///< that publish
    std::size_t consumers = 1;  ///< connections that receive; 0: none
    std::size_t limit = 4;      ///< of the pool of connections of the publishers
    std::size_t size = 100;     ///< of a body, in bytes
    double seconds = 10;
    double rate = 0;  ///< messages a second of all threads together; 0: as fast as possible
};

/// What happened in some time.
struct BenchCounts {
    std::uint64_t published = 0, received = 0, errors = 0;
    LatencyCounts acquire{};  ///< of a producer
    LatencyCounts publish{};  ///< with confirmation
    LatencyCounts transit{};  ///< from the call of publish to the handler

    BenchCounts operator-(const BenchCounts& earlier) const noexcept;
};

struct BenchSecond {
    double at = 0;  ///< the end, in seconds since the start
    double length = 1;
    BenchCounts counts{};
};

struct BenchResult {
    double seconds = 0;
    BenchCounts total{};
    std::vector<BenchSecond> by_second{};
    std::string last_error{};
};

/// Publishes to a queue through a pool and receives from it, until the time has passed or a stop is requested.
/// `on_second`: called after each.
BenchResult run_bench(const Connection& broker, const std::string& queue, const BenchOptions& options, StopSignal& stop,
                      const std::function<void(const BenchSecond&)>& on_second);

}  // namespace kombu::command
