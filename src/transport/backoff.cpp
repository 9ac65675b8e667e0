// SPDX-License-Identifier: BSD-3-Clause
#include "transport/backoff.hpp"

#include "support/random.hpp"

#include <algorithm>
#include <cstdio>
#include <thread>

namespace kombu {

std::optional<std::chrono::milliseconds> Backoff::next() {
    if (max_retries_ && attempt_ >= *max_retries_) return std::nullopt;
    const double jitter = random_share() * std::clamp(policy_.jitter, 0.0, 1.0);
    const auto interval = std::min(policy_.interval_start + attempt_ * policy_.interval_step, policy_.interval_max);
    constexpr double one_day = 86400;
    const double seconds = std::clamp(interval.count() * (1 - jitter), 0.0, one_day);
    std::chrono::milliseconds pause{static_cast<std::int64_t>(seconds * 1000)};
    if (const auto remaining = deadline_.remaining(); remaining <= pause) {
        constexpr std::chrono::milliseconds too_little{10};
        if (remaining <= too_little) return std::nullopt;
        pause = std::chrono::floor<std::chrono::milliseconds>(remaining / 2);
    }
    ++attempt_;
    return pause;
}

std::string Backoff::describe() const {
    if (attempt_ == 0) return {};
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f s", std::chrono::duration<double>(Clock::now() - start_).count());
    return "; gave up after " + std::to_string(attempt_ + 1) + " attempts in " + seconds;
}

void Backoff::sleep(std::chrono::milliseconds pause) const {
    std::this_thread::sleep_until(std::min(Clock::now() + pause, deadline_.when()));
}

async::Operation<> sleep_until(Deadline time) {
    while (!time.expired()) co_await async::Wait{.until = time};
}

}  // namespace kombu
