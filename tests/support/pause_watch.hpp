// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

/// Notices when the machine pauses the process, as virtual machines and starved ones do: deadlines pass then, and it is
/// nobody's fault.
class PauseWatch {
public:
    PauseWatch() : thread_([this] { watch(); }) {}
    PauseWatch(const PauseWatch&) = delete;
    PauseWatch& operator=(const PauseWatch&) = delete;
    ~PauseWatch() {
        stop_ = true;
        thread_.join();
    }
    /// The longest pause so far.
    std::chrono::nanoseconds longest() const { return std::chrono::nanoseconds{longest_}; }

private:
    void watch() {
        constexpr std::chrono::milliseconds step{20};
        for (auto last = std::chrono::steady_clock::now(); !stop_;) {
            std::this_thread::sleep_for(step);
            const auto now = std::chrono::steady_clock::now();
            longest_ = std::max<std::int64_t>(longest_, std::chrono::nanoseconds{now - last - step}.count());
            last = now;
        }
    }

    std::atomic<bool> stop_{false};
    std::atomic<std::int64_t> longest_{0};
    std::thread thread_;
};
