// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <thread>

/// What this process needs in some time: processor time, and how often a thread of it was woken.
struct ProcessUse {
    std::chrono::microseconds processor{};
    long wakeups = 0;

    static ProcessUse so_far() {
        rusage now{};
        ::getrusage(RUSAGE_SELF, &now);
        const auto time_of = [](const timeval& time) {
            return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
        };
        return {time_of(now.ru_utime) + time_of(now.ru_stime), now.ru_nvcsw};
    }
    static ProcessUse during(std::chrono::milliseconds time) {
        const ProcessUse before = so_far();
        std::this_thread::sleep_for(time);  // the time that is measured
        const ProcessUse after = so_far();
        return {after.processor - before.processor, after.wakeups - before.wakeups};
    }
};

inline std::size_t entries_of(const char* directory) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{directory}, {}));
}
inline std::size_t thread_count() { return entries_of("/proc/self/task"); }
inline std::size_t descriptor_count() { return entries_of("/proc/self/fd"); }
