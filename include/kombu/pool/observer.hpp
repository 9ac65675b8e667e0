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

/// Hears what a pool does; one object may be given to many pools. Override what you need: the defaults do nothing.
///
/// Threads: called on the thread that did it, several at once. Never with a lock held, so anything may be called from
/// here, the pool included. What an observer throws goes nowhere.
class PoolObserver {
public:
    using Nanoseconds = std::chrono::nanoseconds;
    virtual ~PoolObserver() = default;

    /// A resource was lent; the acquire took `waited`, creating and preparing included.
    virtual void acquired(const std::string& /*pool*/, Nanoseconds /*waited*/) {}
    /// A lease ended after `used`.
    virtual void released(const std::string& /*pool*/, Nanoseconds /*used*/) {}
    virtual void created(const std::string& /*pool*/, Nanoseconds /*took*/) {}
    virtual void create_failed(const std::string& /*pool*/, const std::exception& /*why*/) {}
    virtual void closed(const std::string& /*pool*/, CloseReason /*why*/) {}
    /// An acquire got nothing. It throws this, unless it was a try_acquire().
    virtual void limit_exceeded(const LimitReport& /*report*/) {}
    virtual void leaked(const LeakReport& /*report*/) {}
};

}  // namespace kombu
