#pragma once

#include <kombu/deadline.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <optional>

namespace kombu {

/// Walks through a RetryPolicy, within a deadline.
class Backoff {
public:
    Backoff(RetryPolicy policy, Deadline deadline) : policy_(policy), deadline_(deadline) {}

    /// How long to wait before the next attempt; nothing when there is none left.
    std::optional<std::chrono::milliseconds> next();

    /// Waits, but not beyond the deadline.
    void sleep(std::chrono::milliseconds pause) const;

private:
    RetryPolicy policy_;
    Deadline deadline_;
    unsigned attempt_ = 0;
};

}  // namespace kombu
