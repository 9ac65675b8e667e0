// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>
#include <kombu/deadline.hpp>
#include <kombu/retry.hpp>

#include "client/loop_settlements.hpp"
#include "transport/backoff.hpp"

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>

namespace kombu::detail {

/// When a ConsumerLoop tries again to consume, and what it tells the log, the observer and the counters of losses and
/// recoveries.
class LoopRecovery {
public:
    /// `queues`: their names, for the log.
    LoopRecovery(const ConsumerLoopOptions& options, std::string queues, std::shared_ptr<LoopSettlements> settlements);

    /// The loop begins to run.
    void reset() noexcept;
    /// The loop consumes. `consumers`: queues and consumer tags.
    void on_consuming(const std::string& consumers, const std::string& endpoint);
    /// The loop no longer consumes. Returns the pause before the next attempt; nothing when it follows at once.
    std::optional<std::chrono::milliseconds> on_lost(const std::exception_ptr& error);
    /// An attempt to consume has failed. Returns the pause before the next one.
    std::chrono::milliseconds on_failed_attempt(const std::exception_ptr& error, const std::string& endpoint);

private:
    std::string lost_consumers(const std::exception_ptr& error) const;
    std::chrono::milliseconds next_pause(const std::exception_ptr& error);

    const RetryPolicy policy_;
    const std::shared_ptr<ConsumerObserver> observer_;
    const std::string queues_;
    const std::shared_ptr<LoopSettlements> settlements_;
    unsigned failures_ = 0;  // attempts to consume since it last worked
    std::optional<Backoff> backoff_{};
    std::string consumers_{}, endpoint_{};  // of the latest time
    Deadline next_refusal_log_ = Deadline::at({});
    Clock::time_point lost_at_{}, consuming_since_{};
};

/// Whether trying again cannot help: an error of the configuration, or a refusal.
bool is_hopeless(const std::exception_ptr& error);

}  // namespace kombu::detail
