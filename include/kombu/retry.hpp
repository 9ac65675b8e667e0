// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <optional>

namespace kombu {

/// How often to retry, and the pauses between attempts.
///
/// There are at most `max_retries + 1` attempts, whatever the kind of error. The n-th pause (from 0) is
/// `interval_start + n * interval_step`, at most `interval_max`, shortened by a random part of up to `jitter` of
/// itself, so that many clients do not retry at the same time. With alternates, one attempt tries every endpoint.
/// Intervals are in seconds.
///
/// \par Kombu
/// The `retry_policy` of `Producer.publish`, the parameters of `Connection.ensure_connection`
struct RetryPolicy {
    /// Not set: until the deadline, or without end when there is none.
    std::optional<unsigned> max_retries = 3;
    std::chrono::duration<double> interval_start{0};
    std::chrono::duration<double> interval_step{0.2};
    std::chrono::duration<double> interval_max{1};
    /// From 0 (none) to 1.
    double jitter = 0.2;
    /// Bounds all attempts and waits together.
    OptionalTimeout timeout{};
};

}  // namespace kombu
