// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace kombu {

/// How long something took, counted in buckets that double: bucket 0 is up to 1 ns, bucket n up to 2^n ns.
class DurationHistogram {
public:
    /// The number of buckets; the last one is 39 hours and more.
    static constexpr std::size_t bucket_count = 48;

    /// The index of the bucket of a duration.
    static std::size_t bucket_of(std::chrono::nanoseconds duration) noexcept {
        const auto count = static_cast<std::uint64_t>(duration.count() < 1 ? 0 : duration.count() - 1);
        const auto index = static_cast<std::size_t>(std::bit_width(count));
        return index < bucket_count ? index : bucket_count - 1;
    }
    /// The longest duration of a class.
    static std::chrono::nanoseconds upper_bound(std::size_t index) noexcept {
        return std::chrono::nanoseconds{std::int64_t{1} << index};
    }

    /// Counts a duration.
    void add(std::chrono::nanoseconds duration, std::uint64_t times = 1) noexcept {
        counts_[bucket_of(duration)] += times;
    }
    /// Counts durations of a bucket.
    void add_to_bucket(std::size_t index, std::uint64_t times) noexcept { counts_[index] += times; }
    /// The number of durations in each bucket.
    const std::array<std::uint64_t, bucket_count>& counts() const noexcept { return counts_; }
    /// The number of all durations.
    std::uint64_t total() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : counts_) sum += count;
        return sum;
    }
    /// The bound below which this share (0 to 1) of the durations lies; 0 when there are none.
    std::chrono::nanoseconds quantile(double share) const noexcept {
        const auto wanted = static_cast<double>(total()) * share;
        std::uint64_t seen = 0;
        for (std::size_t index = 0; index < bucket_count; ++index) {
            seen += counts_[index];
            if (counts_[index] != 0 && static_cast<double>(seen) >= wanted) return upper_bound(index);
        }
        return std::chrono::nanoseconds{0};
    }

private:
    std::array<std::uint64_t, bucket_count> counts_{};
};

/// Why a pool closed a resource.
enum class CloseReason : std::uint8_t {
    discarded,     ///< its holder discarded it, or was ended by an exception and `recycle` did not want it kept
    dead,          ///< found dead before it was lent, or by a keepalive
    unprepared,    ///< new, and could not be prepared
    idle_timeout,  ///< idle for too long
    max_lifetime,  ///< too old
    surplus,       ///< above the limit
    reset,         ///< orphaned by a reset
    pool_closed,   ///< its pool was closed
    evicted,       ///< ResourcePool::evict_if
};
/// The number of CloseReasons.
constexpr std::size_t close_reasons = 9;

/// A snapshot of a pool, taken while it works. `in_use + idle + connecting + closing` was within the limit at that
/// moment; the counters that grow are each exact, and may be some calls apart from each other.
struct PoolStats {
    /// The name of the pool.
    std::string name{};
    std::string kind{};          ///< what the pool lends: "connection", "producer", or the factory's resource_name
    std::string key{};           ///< of a pool of connections or producers: the URL, without the password
    std::size_t limit = 0;       ///< 0: unlimited
    std::size_t in_use = 0;      ///< leased, and not orphaned by a reset since
    std::size_t idle = 0;        ///< ready to be leased
    std::size_t connecting = 0;  ///< being created at this moment
    std::size_t closing = 0;     ///< came back to be closed, and not closed yet
    std::size_t waiting = 0;     ///< callers in the queue

    std::uint64_t created = 0;                             ///< resources made since the pool began
    std::uint64_t closed = 0;                              ///< resources closed since the pool began
    std::array<std::uint64_t, close_reasons> closed_by{};  ///< the same by CloseReason
    std::uint64_t create_failures = 0;                     ///< creates that threw
    std::uint64_t acquired = 0;                            ///< successful acquires
    std::uint64_t timeouts = 0;                            ///< acquires that got nothing in their time, or at once
    std::uint64_t discarded = 0;                           ///< leases that ended with their resource thrown away
    std::uint64_t leaks = 0;                               ///< leases reported for exceeding leak_threshold
    std::uint64_t leaks_ended = 0;                         ///< of these, those that have ended after all

    /// Found out by this call: without maintenance its age may be inexact.
    std::optional<LeaseSite> oldest_lease{};

    /// The longest time that a caller has waited.
    std::chrono::nanoseconds longest_wait{0};
    DurationHistogram wait{};     ///< of successful acquires; those that needed not wait are in class 0
    DurationHistogram use{};      ///< of leases: the first 64 of each slot, then one in 64, counted as 64
    DurationHistogram connect{};  ///< of creates that worked; of pools of connections: of connects

    // Of pools of connections.
    std::uint64_t connect_attempts = 0;                     ///< attempts to connect to an endpoint that have ended
    std::uint64_t connect_failures = 0;                     ///< of these, those that failed
    std::uint64_t connections_lost = 0;                     ///< connections that broke
    std::uint64_t reconnects = 0;                           ///< connects that replaced a lost connection
    bool is_down = false;                                   ///< attempts to connect fail, the last one within a minute
    std::string endpoint{};                                 ///< "host:port" of the last connect
    std::string last_error{};                               ///< of the last failure or loss, also when it has passed
    std::chrono::system_clock::time_point last_error_at{};  ///< when that was

    /// The number of resources that were closed for this reason.
    std::uint64_t closed_for(CloseReason reason) const noexcept { return closed_by[static_cast<std::size_t>(reason)]; }
};

}  // namespace kombu
