// SPDX-License-Identifier: BSD-3-Clause
#include "client/loop_recovery.hpp"

#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include <algorithm>
#include <utility>

namespace kombu::detail {
namespace {

/// Between two attempts to consume.
constexpr std::chrono::milliseconds shortest_pause{100};
constexpr std::chrono::seconds longest_pause{1};
/// Between two log lines about refused attempts.
constexpr std::chrono::minutes refusal_log_interval{1};
/// A loop that has consumed for so long tries again at once when it is lost.
constexpr std::chrono::seconds stable_after{1};

/// Calls `use` with the exception.
template <class Use>
auto with_exception(const std::exception_ptr& error, Use use) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        return use(failure);
    }
}

std::string text_of(const std::exception_ptr& error) {
    return with_exception(error, [](const std::exception& failure) { return std::string{failure.what()}; });
}

RetryPolicy endless(RetryPolicy policy) {
    policy.max_retries = std::nullopt;
    policy.interval_start = std::max<std::chrono::duration<double>>(policy.interval_start, shortest_pause);
    return policy;
}

}  // namespace

bool is_hopeless(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const ConnectionError& failure) {
        return !failure.is_retryable();
    } catch (const std::exception&) {
        return true;
    }
}

LoopRecovery::LoopRecovery(const ConsumerLoopOptions& options, std::string queues,
                           std::shared_ptr<LoopSettlements> settlements)
    : policy_(endless(options.reconnect)),
      observer_(options.observer),
      queues_(std::move(queues)),
      settlements_(std::move(settlements)) {}

void LoopRecovery::reset() noexcept {
    failures_ = 0;
    backoff_.reset();
    next_refusal_log_ = Deadline::at({});
}

void LoopRecovery::on_consuming(const std::string& consumers, const std::string& endpoint) {
    consumers_ = consumers;
    endpoint_ = endpoint;
    const std::string consumed = consumers + " at " + endpoint;
    settlements_->count([](ConsumerStats& stats) { ++stats.consumes; });
    if (failures_ != 0) {
        const auto lost_for = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - lost_at_);
        log(LogLevel::info, "consuming again from " + consumed + " after " + std::to_string(lost_for.count()) +
                                " ms and " + std::to_string(failures_) + (failures_ == 1 ? " attempt" : " attempts"));
    } else {
        log(LogLevel::info, "consuming from " + consumed);
    }
    failures_ = 0;
    next_refusal_log_ = Deadline::at({});
    consuming_since_ = Clock::now();
    if (observer_) observer_->on_consuming(endpoint);
}

/// The broker may cancel one consumer of several.
std::string LoopRecovery::lost_consumers(const std::exception_ptr& error) const {
    return with_exception(error, [&](const std::exception& failure) {
        const auto* const cancelled = dynamic_cast<const ConsumerCancelled*>(&failure);
        return cancelled ? cancelled->queue() + " (consumer " + cancelled->tag() + ")" : consumers_;
    });
}

std::optional<std::chrono::milliseconds> LoopRecovery::on_lost(const std::exception_ptr& error) {
    lost_at_ = Clock::now();
    const std::string cause = text_of(error);
    settlements_->count([&](ConsumerStats& stats) { stats.last_error = cause; });
    log(LogLevel::warning, "no longer consuming from " + lost_consumers(error) + " at " + endpoint_ + ": " + cause);
    if (observer_) with_exception(error, [&](const std::exception& failure) { observer_->on_lost(failure); });
    ++failures_;
    if (lost_at_ - consuming_since_ <= stable_after) return next_pause(error);
    backoff_.reset();
    return std::nullopt;
}

std::chrono::milliseconds LoopRecovery::on_failed_attempt(const std::exception_ptr& error,
                                                          const std::string& endpoint) {
    if (failures_ == 0) lost_at_ = Clock::now();
    const std::string cause = text_of(error);
    settlements_->count([&](ConsumerStats& stats) { stats.last_error = cause; });
    // While the broker is down only the first attempt is logged. A refusal has another cause, and may follow later.
    if ((failures_ == 0 || is_hopeless(error)) && next_refusal_log_.expired()) {
        log(LogLevel::warning, "cannot consume from " + queues_ + " at " + endpoint + ": " + cause);
        next_refusal_log_ = Deadline::after(refusal_log_interval);
    }
    ++failures_;
    return next_pause(error);
}

std::chrono::milliseconds LoopRecovery::next_pause(const std::exception_ptr& error) {
    if (!backoff_) backoff_.emplace(policy_, Deadline::never(), false);
    const std::chrono::milliseconds pause = backoff_->next().value_or(longest_pause);
    settlements_->count([](ConsumerStats& stats) { ++stats.failed_attempts; });
    if (observer_)
        with_exception(error, [&](const std::exception& failure) { observer_->on_attempt_failed(failure, pause); });
    return pause;
}

}  // namespace kombu::detail
