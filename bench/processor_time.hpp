// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <vector>

/// Processor time of the calling thread, in nanoseconds.
inline double thread_nanoseconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// Processor time of the process, in microseconds.
inline double process_microseconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto microseconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
    };
    return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

/// The median, over the repetitions, of what one of so many calls takes of the thread's time, in nanoseconds.
template <class Step>
double median_nanoseconds(int repetitions, int calls, Step step) {
    std::vector<double> samples;
    for (int i = 0; i < repetitions; ++i) {
        const double begin = thread_nanoseconds();
        for (int call = 0; call < calls; ++call) step();
        samples.push_back((thread_nanoseconds() - begin) / calls);
    }
    std::ranges::nth_element(samples, samples.begin() + repetitions / 2);
    return samples[static_cast<std::size_t>(repetitions / 2)];
}
