// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/pool/detail/slot_table.hpp>
#include <kombu/pool/stats.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace kombu::detail {

/// The counters of a pool outside the fast path, which counts in the cells of the slots.
class PoolCounters {
public:
    void created(std::chrono::nanoseconds took) noexcept {
        add(created_);
        add(connect_[DurationHistogram::bucket_of(took)]);
    }
    void create_failed() noexcept { add(create_failures_); }
    void closed(CloseReason why) noexcept { add(closed_[static_cast<std::size_t>(why)]); }
    void timed_out() noexcept { add(timeouts_); }
    void leaked() noexcept { add(leaks_); }
    void leak_ended() noexcept { add(leaks_ended_); }
    void waited(std::chrono::nanoseconds time) noexcept {
        add(wait_[DurationHistogram::bucket_of(time)]);
        auto longest = longest_wait_.load(std::memory_order_relaxed);
        while (longest < time.count() &&
               !longest_wait_.compare_exchange_weak(longest, time.count(), std::memory_order_relaxed)) {
        }
    }
    void used(std::chrono::nanoseconds time, std::uint64_t times) noexcept {
        add(use_[DurationHistogram::bucket_of(time)], times);
    }
    /// After `acquired` was set: acquires that did not wait are in the first bucket of the waits.
    void add_to(PoolStats& stats) const noexcept {
        stats.created = get(created_);
        stats.create_failures = get(create_failures_);
        stats.timeouts = get(timeouts_);
        stats.leaks = get(leaks_);
        stats.leaks_ended = get(leaks_ended_);
        for (std::size_t why = 0; why < close_reasons; ++why) {
            stats.closed_by[why] = get(closed_[why]);
            stats.closed += stats.closed_by[why];
        }
        stats.discarded = stats.closed_for(CloseReason::discarded) + stats.closed_for(CloseReason::dead);
        stats.longest_wait = std::chrono::nanoseconds{longest_wait_.load(std::memory_order_relaxed)};
        for (std::size_t i = 0; i < DurationHistogram::bucket_count; ++i) {
            stats.wait.add_to_bucket(i, get(wait_[i]));
            stats.use.add_to_bucket(i, get(use_[i]));
            stats.connect.add_to_bucket(i, get(connect_[i]));
        }
        const std::uint64_t at_once = stats.acquired - std::min(stats.acquired, stats.wait.total());
        stats.wait.add_to_bucket(0, at_once);
    }

private:
    using Counter = std::atomic<std::uint64_t>;
    using Buckets = std::array<Counter, DurationHistogram::bucket_count>;
    static void add(Counter& counter, std::uint64_t n = 1) noexcept { counter.fetch_add(n, std::memory_order_relaxed); }
    static std::uint64_t get(const Counter& counter) noexcept { return counter.load(std::memory_order_relaxed); }

    Counter created_{0}, create_failures_{0}, timeouts_{0}, leaks_{0}, leaks_ended_{0};
    std::array<Counter, close_reasons> closed_{};
    std::atomic<std::int64_t> longest_wait_{0};
    Buckets wait_{}, use_{}, connect_{};
};

}  // namespace kombu::detail
