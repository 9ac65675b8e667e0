// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_counters.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <string>

namespace kombu::detail {

/// Reports what happens in a pool to its counters, its observer and the log. The functions that call the observer or
/// the log are not called with the pool's lock held; what an observer throws is ignored.
class KOMBU_EXPORT PoolReporter {
public:
    /// The options must outlive the reporter.
    explicit PoolReporter(const PoolOptions& options) noexcept : options_(options) {}

    std::string display_name() const { return options_.name.empty() ? "pool" : options_.name; }

    /// An acquire that could not be timed, since nothing delayed it.
    void acquired_at_once() noexcept;
    void acquired(std::chrono::nanoseconds waited) noexcept;
    /// `weight`: the number of leases that this one stands for in the statistics; 0: none.
    void released(std::chrono::nanoseconds used, std::uint64_t weight) noexcept;
    void created(std::chrono::nanoseconds duration) noexcept;
    void create_failed(const std::exception* error) noexcept;
    void closed(CloseReason reason) noexcept;
    void count_limit_exceeded() noexcept;
    void limit_exceeded(const LimitReport& report) noexcept;
    void leaked(const LeaseSite& lease);
    void leak_ended(const LeaseSite& lease) noexcept;
    void preload_failed(const std::exception& error);

    void add_to(PoolStats& stats) const noexcept { counters_.add_to(stats); }

private:
    template <class Notify>
    void observe(Notify notify_observer) noexcept;

    const PoolOptions& options_;
    PoolCounters counters_;
};

}  // namespace kombu::detail
