// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace kombu::command {

/// SIGINT and SIGTERM as a stop_token: the first one asks for a polite end, the second one ends the process at once.
/// Made before the first thread, which all leave the signals to it. SIGPIPE is ignored: writing reports it.
class StopSignal {
public:
    StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;
    ~StopSignal();

    bool requested() const noexcept { return source_.stop_requested(); }
    std::stop_token token() const noexcept { return source_.get_token(); }
    /// Readable when the stop is requested, for poll(2).
    int descriptor() const noexcept { return descriptor_; }
    /// Waits until then, or until the stop is requested.
    /// \return whether the time has come
    bool wait_until(std::chrono::steady_clock::time_point when);

private:
    void await_signals();

    sigset_t signals_{};
    int descriptor_ = -1;
    std::stop_source source_{};
    std::mutex mutex_{};
    std::condition_variable stopped_{};
    std::atomic<bool> is_ending_{false};
    std::thread thread_{};
};

}  // namespace kombu::command
