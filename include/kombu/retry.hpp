// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <optional>

namespace kombu {

/// When to try again, how often, and how long to wait in between.
///
/// There are at most `max_retries + 1` attempts, whatever the kind of error. The n-th wait is
/// `interval_start + n * interval_step`, at most `interval_max`, shortened by a random part of up to `jitter` of itself
/// so that many clients do not return in step. With alternates, one attempt visits every endpoint.
struct RetryPolicy {
    /// Not set: for as long as the deadline allows, for ever when there is none.
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
