// SPDX-License-Identifier: BSD-3-Clause
#include "redis/contention.hpp"

#include <algorithm>

namespace kombu::redis {
namespace {

// Found by simulation: see tests/unit/kombu/contention_test.cpp.
/// So many consumers need no turns.
constexpr std::size_t free_consumers = 2;
/// The interval that rests and pauses are based on has this limit.
constexpr double longest_interval = 0.005;
/// The losses in a row before the first pause, and how many more make the longest one.
constexpr int patience = 1, growth = 8;
/// How long those wait, in seconds, who have received a message lately.
constexpr double courtesy = 0.0004, jitter = 0.0001;

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

Contention::Duration duration(double time) {
    return std::chrono::duration_cast<Contention::Duration>(std::chrono::duration<double>(time));
}

}  // namespace

/// The time in which it should be the other consumers' turn.
double Contention::turn() const noexcept {
    if (consumers_ <= free_consumers) return 0;
    return static_cast<double>(consumers_ - 1) * std::min(interval_, longest_interval) * scale_;
}

/// The time since the last message, in relation to the time in which each consumer should receive one.
double Contention::overdue(Clock::time_point now) const noexcept {
    return seconds(now - last_received_) / (static_cast<double>(consumers_) * std::max(interval_, 1e-6));
}

void Contention::on_waiting(Clock::time_point now) noexcept {
    if (waits_) return;
    waits_ = true;
    waiting_since_ = now;
}

Contention::Duration Contention::on_notice(Clock::time_point now, double random) noexcept {
    if (measures_) interval_ += 0.1 * (seconds(now - waiting_since_) - interval_);
    waits_ = measures_ = false;
    const double lead = 1 - overdue(now);
    return consumers_ < 2 || lead <= 0 ? Duration{0} : duration(courtesy * lead + jitter * random);
}

void Contention::on_received(Clock::time_point now, bool found, double random) noexcept {
    finds_ = found ? finds_ + 1 : 0;
    if (found) scale_ = std::max(scale_ * (finds_ == 1 ? 0.85 : 0.7), 0.01);  // a single one may be chance
    losses_ = 0;
    waits_ = measures_ = false;
    last_received_ = now;
    rests_until_ = now + std::min(duration(turn() * (1 + 0.02 * random)), longest_pause_);
}

Contention::Duration Contention::on_lost(Clock::time_point now, double random) noexcept {
    scale_ = std::min(scale_ * 1.05, 1.5);
    has_rivals_ = true;
    if (consumers_ == 1) consumers_ = 0;
    measures_ = losses_ < patience || consumers_ <= free_consumers;
    ++losses_;
    if (measures_) return Duration{0};
    const double share = std::min(1.0, static_cast<double>(losses_ - patience) / growth);
    return std::min(duration(turn() * share * (0.5 + random) / (1 + overdue(now))), longest_pause_);
}

}  // namespace kombu::redis
