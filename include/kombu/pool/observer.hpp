// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/stats.hpp>

#include <chrono>
#include <exception>
#include <string>

namespace kombu {

/// A lease that has lasted longer than its pool's leak_threshold.
struct LeakReport {
    std::string pool{};
    LeaseSite lease{};
};

/// Is told what a pool does. One object may serve many pools. The functions do nothing unless they are overridden.
///
/// \par Thread safety
/// The functions are called on the thread that did it, several at once. No lock is held, so they may call anything, the
/// pool included. Exceptions that they throw are ignored.
class PoolObserver {
public:
    using Nanoseconds = std::chrono::nanoseconds;
    virtual ~PoolObserver() = default;

    /// A resource was lent. `waited`: the duration of the acquire, creating and preparing included.
    virtual void acquired(const std::string& /*pool*/, Nanoseconds /*waited*/) {}
    /// A lease ended. `used`: its duration.
    virtual void released(const std::string& /*pool*/, Nanoseconds /*used*/) {}
    virtual void created(const std::string& /*pool*/, Nanoseconds /*duration*/) {}
    virtual void create_failed(const std::string& /*pool*/, const std::exception& /*error*/) {}
    virtual void closed(const std::string& /*pool*/, CloseReason /*reason*/) {}
    /// An acquire got nothing. It throws LimitExceeded with this report, unless it was a try_acquire().
    virtual void limit_exceeded(const LimitReport& /*report*/) {}
    /// A lease has lasted longer than leak_threshold.
    virtual void leaked(const LeakReport& /*report*/) {}
    /// A lease that was reported by leaked() has ended after all.
    virtual void leak_ended(const LeakReport& /*report*/) {}
};

}  // namespace kombu
