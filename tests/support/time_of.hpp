// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>

/// How long a call takes.
template <class Call>
std::chrono::nanoseconds time_of(Call call) {
    const auto start = kombu::Clock::now();
    call();
    return kombu::Clock::now() - start;
}
