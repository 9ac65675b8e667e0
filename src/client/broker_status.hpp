// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>
#include <kombu/failover.hpp>
#include <kombu/operation.hpp>
#include <kombu/pool/observer.hpp>
#include <kombu/pool/stats.hpp>

#include "client/attempt_pacing.hpp"

#include <atomic>
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
    struct State;

public:
    /// \param pool  the name of the pool
    /// \param observer  may be null
    BrokerStatus(std::string pool, std::shared_ptr<PoolObserver> observer)
        : pool_(std::move(pool)), observer_(std::move(observer)) {}

    /// Whom a connect is for.
    struct Caller {
        Deadline deadline;
        /// For one attempt at one endpoint, when the deadline allows it.
        std::chrono::nanoseconds connect_timeout;
        /// Set when the caller is not to wait any longer; see wake_waiters().
        const std::atomic<bool>& interrupted;
    };

    /// The right to try to connect, to each endpoint once. Abandoned unless its outcome is told. What it met is
    /// reported when it ends, so that an observer may use the pool.
    class Attempt {
    public:
        Attempt(Attempt&& other) noexcept;
        Attempt(const Attempt&) = delete;
        Attempt& operator=(const Attempt&) = delete;
        Attempt& operator=(Attempt&&) = delete;
        ~Attempt();

        /// Removes the endpoint to try next from the candidates: the first one that has not failed lately, with
        /// "least-connections" of those with the fewest connections of the pool; for a function the first one.
        std::size_t choose_endpoint(std::vector<std::size_t>& candidates, const FailoverStrategy& strategy);
        void endpoint_failed(const ConnectionError& error);
        void endpoint_connected(std::string name, std::chrono::nanoseconds duration);

        /// \return what record_end() needs
        AttemptPacing::Version succeeded();
        void failed(const ConnectionError& error);

    private:
        friend class BrokerStatus;
        struct Report {
            std::string endpoint{};  // connected, or
            std::chrono::nanoseconds duration{0};
            std::exception_ptr error{};  // failed
        };
        Attempt(BrokerStatus& status, State& state, const Caller& caller, AttemptPacing::Version version,
                Clock::time_point begin) noexcept
            : status_(&status), state_(&state), caller_(caller), version_(version), begin_(begin) {}
        /// A forked child must not use the parent's state, whose lock may be held there for ever.
        bool is_of_this_process() const noexcept { return status_->state_.get_if_of_this_process() == state_; }
        /// Whether the error is that of a caller with less time than an attempt may take.
        bool is_cut_short(const ConnectionError& error) const;
        void release_endpoint(State& state) noexcept;
        void finish() noexcept;

        BrokerStatus* status_;
        State* state_;
        Caller caller_;
        AttemptPacing::Version version_;
        Clock::time_point begin_;
        std::optional<std::size_t> endpoint_{};  // that is being tried
        std::vector<Report> reports_{};
    };

    /// Waits until the caller may try to connect.
    /// \throws ConnectionError  of another caller's attempt that failed meanwhile; or the caller was interrupted
    /// \throws Timeout  when no attempt may begin by the deadline
    async::Operation<Attempt> begin_attempt(Caller caller);
    /// Waits until an attempt has succeeded, at most until this time.
    async::Operation<> await_recovery(Deadline until);
    /// Has the callers that wait look whether they were interrupted. From any thread.
    void wake_waiters() noexcept;

    /// A connection to the endpoint ended. `failure`: the error that broke it, or null. `epoch`: of its connect.
    void record_end(std::size_t endpoint, AttemptPacing::Version epoch, const std::exception_ptr& failure);
    /// A call ended with an error while its connection was not connected.
    void record_failed_call() noexcept;

    bool is_down() const;
    /// Empty when a later connect succeeded.
    std::string last_error() const;
    void add_to(PoolStats& stats) const;

private:
    struct Waiter {
        async::Waker* waker;
        bool takes_errors;
        std::shared_ptr<const OperationalError> error{};  // of another caller's attempt
    };
    class Registration;
    struct EndpointState {
        std::size_t connections = 0;  // also those that are being made
        Clock::time_point avoid_until{};
    };
    struct State {
        EndpointState& at(std::size_t index) {
            if (endpoints.size() <= index) endpoints.resize(index + 1);
            return endpoints[index];
        }
        /// Something that an outage may begin with.
        void note_trouble(Clock::time_point since, Clock::time_point now) noexcept;
        void wake_all(const std::shared_ptr<const OperationalError>& error = {}) noexcept;

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
        Clock::time_point last_trouble{};
        std::optional<Clock::time_point> trouble_since{};
        std::uint64_t failed_calls = 0;  // since then
    };

    template <class Notify>
    void observe(Notify notify) noexcept;
    void report_lost(const ConnectionError& error) noexcept;
    void report_recovered(const OutageReport& report) noexcept;

    const std::string pool_;
    const std::shared_ptr<PoolObserver> observer_;
    mutable ForkLocal<State> state_;
};

}  // namespace kombu::detail
