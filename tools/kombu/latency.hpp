// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kombu::command {

/// Latencies counted in classes of 3 %, for percentiles: DurationHistogram's classes double, which is too coarse for
/// them. Or the difference of two such counts.
class LatencyCounts {
public:
    static constexpr std::size_t steps = 32;  // of each power of two
    static constexpr std::size_t size = 40 * steps;

    static std::size_t index_of(std::chrono::nanoseconds latency) noexcept {
        const auto value = static_cast<std::uint64_t>(latency.count() < 0 ? 0 : latency.count());
        if (value < steps) return value;
        const auto shift = static_cast<unsigned>(std::bit_width(value)) - 6;
        const std::size_t index = (shift + 1) * steps + ((value >> shift) & (steps - 1));
        return index < size ? index : size - 1;
    }
    /// The end of a class.
    static std::chrono::nanoseconds bound(std::size_t index) noexcept {
        if (index < steps) return std::chrono::nanoseconds{index};
        const std::size_t shift = index / steps - 1;
        return std::chrono::nanoseconds{((steps + index % steps + 1) << shift) - 1};
    }

    std::uint64_t total() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : counts) sum += count;
        return sum;
    }
    /// The latency that this share (0 to 1) of all does not exceed; 0 when there are none.
    std::chrono::nanoseconds quantile(double share) const noexcept {
        const double wanted = static_cast<double>(total()) * share;
        std::uint64_t seen = 0;
        std::size_t last = 0;
        for (std::size_t i = 0; i < size; ++i) {
            if (counts[i] == 0) continue;
            seen += counts[i];
            last = i;
            if (static_cast<double>(seen) >= wanted) break;
        }
        return seen == 0 ? std::chrono::nanoseconds{0} : bound(last);
    }

    LatencyCounts operator-(const LatencyCounts& earlier) const noexcept {
        LatencyCounts difference = *this;
        for (std::size_t i = 0; i < size; ++i) difference.counts[i] -= earlier.counts[i];
        return difference;
    }

    std::array<std::uint64_t, size> counts{};
};

/// Counts the latencies of one thread; others may read.
class LatencyRecorder {
public:
    void add(std::chrono::nanoseconds latency) noexcept {
        auto& count = counts_[LatencyCounts::index_of(latency)];
        count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // one writer
    }
    void add_to(LatencyCounts& sum) const noexcept {
        for (std::size_t i = 0; i < LatencyCounts::size; ++i)
            sum.counts[i] += counts_[i].load(std::memory_order_relaxed);
    }

private:
    std::array<std::atomic<std::uint64_t>, LatencyCounts::size> counts_{};
};

}  // namespace kombu::command
