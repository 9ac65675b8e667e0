// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <optional>

namespace kombu {

/// A number of retries: one that was given, no bound (std::nullopt), or the default.
class RetryCount {
public:
    /// The default: no bound for a call with a timeout, which goes on until then; otherwise 3.
    constexpr RetryCount() noexcept = default;
    /// So many repetitions.
    constexpr RetryCount(unsigned count) noexcept : count_(count), is_default_(false) {}
    /// No bound.
    constexpr RetryCount(std::nullopt_t) noexcept : is_default_(false) {}
    /// So many repetitions; not set: no bound.
    constexpr RetryCount(std::optional<unsigned> count) noexcept : count_(count), is_default_(false) {}

    /// The number for a call with or without a timeout; not set: no bound.
    constexpr std::optional<unsigned> value(bool has_timeout) const noexcept {
        return is_default_ && !has_timeout ? std::optional<unsigned>{3} : count_;
    }
    friend constexpr bool operator==(RetryCount, RetryCount) = default;

private:
    std::optional<unsigned> count_{};
    bool is_default_ = true;
};

/// How often to retry, and the pauses between attempts.
///
/// There are at most `max_retries + 1` attempts, whatever the kind of error. The n-th pause (from 0) is
/// `interval_start + n * interval_step`, at most `interval_max`, shortened by a random part of up to `jitter` of
/// itself, so that many clients do not retry at the same time. While a broker is down, a pause ends with the first
/// connect of the pool. With alternates, one attempt tries every endpoint.
/// Intervals are in seconds.
///
/// \par Kombu
/// The `retry_policy` of `Producer.publish`, the parameters of `Connection.ensure_connection`
struct RetryPolicy {
    /// Not set: until the timeout, of the call or of the policy; 3 when there is none. std::nullopt: no bound.
    RetryCount max_retries{};
    /// The first pause.
    std::chrono::duration<double> interval_start{0};
    /// Added to each further pause.
    std::chrono::duration<double> interval_step{0.2};
    /// The longest pause.
    std::chrono::duration<double> interval_max{1};
    /// From 0 (none) to 1.
    double jitter = 0.2;
    /// Bounds all attempts and waits together.
    OptionalTimeout timeout{};

    friend constexpr bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

}  // namespace kombu
