// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>
#include <kombu/operation.hpp>
#include <kombu/pool/observer.hpp>
#include <kombu/pool/stats.hpp>

#include "client/attempt_pacing.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

/// What the connections of a pool know about their broker. A connection connects at its first use, which the pool
/// itself does not observe.
///
/// The broker is down from an attempt to connect that fails until one that succeeds. Meanwhile the attempts are spaced
/// (AttemptPacing), and each finds out for all callers. Connects, losses and outages go to the statistics, the observer
/// and the log.
class BrokerStatus {
public:
    /// \param pool  the name of the pool
    /// \param observer  may be null
    BrokerStatus(std::string pool, std::shared_ptr<PoolObserver> observer)
        : pool_(std::move(pool)), observer_(std::move(observer)) {}

    /// The right to try to connect. Abandoned unless its outcome is told.
    class Attempt {
    public:
        Attempt(Attempt&& other) noexcept
            : status_(std::exchange(other.status_, nullptr)), version_(other.version_), begin_(other.begin_) {}
        Attempt(const Attempt&) = delete;
        Attempt& operator=(const Attempt&) = delete;
        Attempt& operator=(Attempt&&) = delete;
        ~Attempt();
        void succeeded();
        /// \param limit  the time that an attempt has when its caller has enough
        void failed(const ConnectionError& error, std::chrono::nanoseconds limit);

    private:
        friend class BrokerStatus;
        Attempt(BrokerStatus& status, AttemptPacing::Version version, Clock::time_point begin) noexcept
            : status_(&status), version_(version), begin_(begin) {}
        BrokerStatus* status_;
        AttemptPacing::Version version_;
        Clock::time_point begin_;
    };

    /// Waits until the caller may try to connect.
    /// \throws ConnectionError  of another caller's attempt that failed meanwhile
    /// \throws Timeout  when no attempt may begin by the deadline
    async::Operation<Attempt> begin_attempt(Deadline deadline);

    // -- of one endpoint

    void record_failure(std::size_t endpoint, const ConnectionError& error);
    void record_connect(std::size_t endpoint, std::string name, std::chrono::nanoseconds duration);
    /// A connection to the endpoint ended; `lost`: it broke, for this reason.
    void record_end(std::size_t endpoint, std::optional<std::string> lost);
    /// Moves endpoints that failed lately to the end. With `by_connections`, those with the fewest connections of the
    /// pool come first.
    void order_endpoints(std::vector<std::size_t>& order, bool by_connections) const;

    /// A call ended with an error while its connection was not connected.
    void record_failed_call() noexcept;

    bool is_down() const;
    /// Empty when a later connect succeeded.
    std::string last_error() const;
    void add_to(PoolStats& stats) const;

private:
    struct Waiter {
        async::Waker* waker;
        std::exception_ptr error{};  // of another caller's attempt
    };
    struct EndpointState {
        std::size_t connections = 0;
        Clock::time_point avoid_until{};
    };
    struct State {
        EndpointState& at(std::size_t index) {
            if (endpoints.size() <= index) endpoints.resize(index + 1);
            return endpoints[index];
        }

        std::mutex mutex{};
        AttemptPacing pacing{};
        std::list<Waiter*> waiters{};

        std::uint64_t attempts = 0, failures = 0, reconnects = 0, lost = 0;
        std::uint64_t not_replaced = 0;  // lost connections that no connect has followed yet
        std::string current_error{};     // empty after a connect
        std::string last_error{};
        std::chrono::system_clock::time_point last_error_at{};
        std::string endpoint{};
        std::vector<EndpointState> endpoints{};
        DurationHistogram times{};

        bool is_lost = false;
        std::optional<Clock::time_point> suspect_since{};  // of the first loss or failure
        std::uint64_t failed_calls = 0;                    // since then
    };

    template <class Notify>
    void observe(Notify notify) noexcept;
    void end_outage();
    void abandon_attempt() noexcept;
    /// With the lock.
    static void wake_waiters(State& state, const std::exception_ptr& error = {}) noexcept;

    const std::string pool_;
    const std::shared_ptr<PoolObserver> observer_;
    mutable ForkLocal<State> state_;
};

}  // namespace kombu::detail
