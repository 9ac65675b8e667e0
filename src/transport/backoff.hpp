// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace kombu {

/// Counts the attempts of a RetryPolicy, and computes the pauses between them, within a deadline.
class Backoff {
public:
    /// `has_timeout`: the caller gave the deadline, as the timeout of the call or of the policy.
    Backoff(RetryPolicy policy, Deadline deadline, bool has_timeout, Clock::time_point start = Clock::now())
        : policy_(policy), deadline_(deadline), max_retries_(policy.max_retries.value(has_timeout)), start_(start) {}

    /// The pause before the next attempt, shortened when it would reach the deadline. Null when no attempt is left, or
    /// too little time.
    std::optional<std::chrono::milliseconds> next();

    /// What was tried in vain, for the end of an error's text: "; gave up after 3 attempts in 1.2 s". Empty after a
    /// single attempt.
    std::string describe() const;

    /// Sleeps for the pause, at most until the deadline.
    void sleep(std::chrono::milliseconds pause) const;

private:
    RetryPolicy policy_;
    Deadline deadline_;
    std::optional<unsigned> max_retries_;
    Clock::time_point start_;
    unsigned attempt_ = 0;
};

/// Continues at this time.
async::Operation<> sleep_until(Deadline time);

}  // namespace kombu
