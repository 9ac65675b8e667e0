// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <optional>

namespace kombu {

/// Computes the pauses between the attempts of a RetryPolicy, within a deadline.
class Backoff {
public:
    Backoff(RetryPolicy policy, Deadline deadline) : policy_(policy), deadline_(deadline) {}

    /// The pause before the next attempt. Null when no attempt is left, or the pause would reach the deadline.
    std::optional<std::chrono::milliseconds> next();

    /// Sleeps for the pause, at most until the deadline.
    void sleep(std::chrono::milliseconds pause) const;

private:
    RetryPolicy policy_;
    Deadline deadline_;
    unsigned attempt_ = 0;
};

/// Continues at this time.
async::Operation<> sleep_until(Deadline time);

}  // namespace kombu
