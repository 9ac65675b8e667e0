// SPDX-License-Identifier: BSD-3-Clause
#include "transport/backoff.hpp"

#include <algorithm>
#include <random>
#include <thread>

namespace kombu {

std::optional<std::chrono::milliseconds> Backoff::next() {
    if (policy_.max_retries && attempt_ >= *policy_.max_retries) return std::nullopt;
    thread_local std::minstd_rand random{std::random_device{}()};
    const double jitter = std::uniform_real_distribution<>{0, std::clamp(policy_.jitter, 0.0, 1.0)}(random);
    const auto interval = std::min(policy_.interval_start + attempt_ * policy_.interval_step, policy_.interval_max);
    constexpr double one_day = 86400;
    const double seconds = std::clamp(interval.count() * (1 - jitter), 0.0, one_day);
    const std::chrono::milliseconds pause{static_cast<std::int64_t>(seconds * 1000)};
    if (deadline_.remaining() <= pause) return std::nullopt;
    ++attempt_;
    return pause;
}

void Backoff::sleep(std::chrono::milliseconds pause) const {
    std::this_thread::sleep_until(std::min(Clock::now() + pause, deadline_.when()));
}

async::Operation<> sleep_until(Deadline time) {
    while (!time.expired()) co_await async::Wait{.until = time};
}

}  // namespace kombu
