// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>

/// A clock that only the test advances.
class ManualClock {
public:
    kombu::Clock::time_point now() const { return now_; }
    kombu::Clock::time_point in(std::chrono::milliseconds time) const { return now_ + time; }
    void advance(std::chrono::nanoseconds time) { now_ += time; }

private:
    kombu::Clock::time_point now_{std::chrono::hours{1}};
};
