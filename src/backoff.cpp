#include "backoff.hpp"

#include <algorithm>
#include <random>
#include <thread>

namespace kombu {

std::optional<std::chrono::milliseconds> Backoff::next() {
    if (policy_.max_retries && attempt_ >= *policy_.max_retries) return std::nullopt;
    const auto steps = std::min(attempt_, 1'000'000u);  // enough for any maximum, and no overflow
    auto pause = std::min(policy_.interval_start + steps * policy_.interval_step, policy_.interval_max);
    pause = std::max(pause, std::chrono::milliseconds{0});
    thread_local std::minstd_rand random{std::random_device{}()};
    const double part = std::uniform_real_distribution<>{0, std::clamp(policy_.jitter, 0.0, 1.0)}(random);
    pause -= std::chrono::milliseconds{static_cast<std::int64_t>(part * static_cast<double>(pause.count()))};
    if (deadline_.remaining() <= pause) return std::nullopt;
    ++attempt_;
    return pause;
}

void Backoff::sleep(std::chrono::milliseconds pause) const {
    std::this_thread::sleep_until(std::min(Clock::now() + pause, deadline_.when()));
}

}  // namespace kombu
