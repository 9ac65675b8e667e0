// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/stats.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <string>

namespace kombu {

/// A lease that has lasted longer than its pool's leak_threshold.
struct LeakReport {
    /// The name of the pool.
    std::string pool{};
    /// When and where it was acquired.
    LeaseSite lease{};
};

/// A time during which no connection of a pool could connect.
struct OutageReport {
    /// The name of the pool.
    std::string pool{};
    /// From the first lost connection or failed attempt to the first connect.
    std::chrono::nanoseconds duration{0};
    /// The calls that ended with an error meanwhile, without a connection.
    std::uint64_t failed_calls = 0;
};

/// Is told what a pool does. One object may serve many pools. The functions do nothing unless they are overridden.
///
/// \par Thread safety
/// The functions are called on the thread that did it, several at once. No lock is held, so they may call anything, the
/// pool included. Exceptions that they throw are ignored.
class PoolObserver {
public:
    /// The unit of all durations.
    using Nanoseconds = std::chrono::nanoseconds;
    virtual ~PoolObserver() = default;

    /// A resource was lent. `waited`: the duration of the acquire, creating and preparing included.
    virtual void acquired(const std::string& /*pool*/, Nanoseconds /*waited*/) {}
    /// A lease ended. `used`: its duration.
    virtual void released(const std::string& /*pool*/, Nanoseconds /*used*/) {}
    /// A resource was created, in this time.
    virtual void created(const std::string& /*pool*/, Nanoseconds /*duration*/) {}
    /// A resource could not be created.
    virtual void create_failed(const std::string& /*pool*/, const std::exception& /*error*/) {}
    /// A resource was closed.
    virtual void closed(const std::string& /*pool*/, CloseReason /*reason*/) {}
    /// An acquire got nothing. It throws LimitExceeded with this report, unless it was a try_acquire().
    virtual void limit_exceeded(const LimitReport& /*report*/) {}
    /// A lease has lasted longer than leak_threshold.
    virtual void leaked(const LeakReport& /*report*/) {}
    /// A lease that was reported by leaked() has ended after all.
    virtual void leak_ended(const LeakReport& /*report*/) {}

    // Of pools of connections.

    /// A connection has connected to this endpoint ("host:port"), in this time.
    virtual void connected(const std::string& /*pool*/, const std::string& /*endpoint*/, Nanoseconds /*duration*/) {}
    /// An attempt to connect to an endpoint failed.
    virtual void connect_failed(const std::string& /*pool*/, const std::exception& /*error*/) {}
    /// A connection broke, for this reason.
    virtual void connection_lost(const std::string& /*pool*/, const std::string& /*reason*/) {}
    /// The first attempt of an outage has failed; further ones are not reported here. A refusal, as of a wrong password
    /// or a limit on connections, is no outage.
    virtual void broker_lost(const std::string& /*pool*/, const std::exception& /*error*/) {}
    /// An attempt succeeded after broker_lost().
    virtual void broker_recovered(const OutageReport& /*report*/) {}
};

}  // namespace kombu
