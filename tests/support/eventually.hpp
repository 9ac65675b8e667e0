// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <thread>

/// Waits until the condition holds. Returns false when it does not hold in time.
template <class Condition>
bool eventually(Condition condition, std::chrono::seconds timeout = std::chrono::seconds{10}) {
    const auto begin = std::chrono::steady_clock::now();
    while (!condition()) {
        const auto waited = std::chrono::steady_clock::now() - begin;
        if (waited > timeout) return false;
        // What takes long is not slowed down by this loop.
        if (waited < std::chrono::milliseconds{100})
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    return true;
}
