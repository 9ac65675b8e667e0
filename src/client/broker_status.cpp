// SPDX-License-Identifier: BSD-3-Clause
#include "client/broker_status.hpp"

#include <kombu/log.hpp>

#include "client/throw_copy.hpp"

#include <algorithm>
#include <cstdio>
#include <random>

namespace kombu::detail {
namespace {

/// For how long an endpoint that failed is tried last: longer than a silent one costs (connect_timeout), and short
/// against the time that a node needs to return.
constexpr std::chrono::seconds avoid_after_failure{10};

double random_share() {
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::uniform_real_distribution<>{0, 1}(random);
}

}  // namespace

template <class Notify>
void BrokerStatus::observe(Notify notify) noexcept {
    if (!observer_) return;
    try {
        notify(*observer_);
    } catch (...) {
    }
}

// -- attempts

BrokerStatus::Attempt::~Attempt() {
    if (status_) status_->abandon_attempt();
}

void BrokerStatus::Attempt::succeeded() {
    BrokerStatus& status = *std::exchange(status_, nullptr);
    {
        State& state = status.state_.get();
        const std::lock_guard lock{state.mutex};
        state.pacing.succeeded();
        wake_waiters(state);
    }
    status.end_outage();
}

void BrokerStatus::Attempt::failed(const ConnectionError& error, std::chrono::nanoseconds limit) {
    const auto now = Clock::now();
    // A caller with little time says nothing about the broker.
    const bool cut_short = dynamic_cast<const Timeout*>(&error) &&
                           now - begin_ < std::min<std::chrono::nanoseconds>(limit, AttemptPacing::slow_after);
    if (cut_short) return;  // the destructor abandons it
    BrokerStatus& status = *std::exchange(status_, nullptr);
    const double random = random_share();
    const std::exception_ptr cause = std::current_exception();
    bool begins_outage = false;
    {
        State& state = status.state_.get();
        const std::lock_guard lock{state.mutex};
        if (state.pacing.failed(version_, now, random)) {
            begins_outage = !std::exchange(state.is_lost, true);
            if (!state.suspect_since) state.suspect_since = begin_;
        }
        wake_waiters(state, cause);
    }
    if (!begins_outage) return;
    if (is_logging()) log(LogLevel::warning, status.pool_ + ": the broker is lost: " + error.what());
    status.observe([&](PoolObserver& observer) { observer.broker_lost(status.pool_, error); });
}

void BrokerStatus::abandon_attempt() noexcept {
    State* const state = state_.get_if_of_this_process();
    if (!state) return;
    const std::lock_guard lock{state->mutex};
    state->pacing.abandoned();
    wake_waiters(*state);
}

void BrokerStatus::end_outage() {
    OutageReport report{.pool = pool_};
    {
        State& state = state_.get();
        const std::lock_guard lock{state.mutex};
        const bool was_down = std::exchange(state.is_lost, false);
        report.failed_calls = std::exchange(state.failed_calls, 0);
        const auto since = std::exchange(state.suspect_since, std::nullopt);
        if (!was_down || !since) return;
        report.duration = Clock::now() - *since;
    }
    char text[32];
    std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(report.duration).count());
    if (is_logging())
        log(LogLevel::info, pool_ + ": the broker is back after " + text + "; " + std::to_string(report.failed_calls) +
                                " calls failed meanwhile");
    observe([&](PoolObserver& observer) { observer.broker_recovered(report); });
}

void BrokerStatus::wake_waiters(State& state, const std::exception_ptr& error) noexcept {
    for (Waiter* const waiter : state.waiters) {
        if (error) waiter->error = error;
        waiter->waker->wake();
    }
}

async::Operation<BrokerStatus::Attempt> BrokerStatus::begin_attempt(Deadline deadline) {
    State& state = state_.get();
    Waiter waiter{&co_await async::this_waker};
    struct Registration {
        BrokerStatus& status;
        State& state;
        Waiter& waiter;
        ~Registration() {
            if (status.state_.get_if_of_this_process() != &state) return;
            const std::lock_guard lock{state.mutex};
            state.waiters.remove(&waiter);
        }
    };
    std::optional<Registration> registration;
    for (;;) {
        Clock::time_point due;
        std::exception_ptr error;
        std::string last_error;
        {
            const std::lock_guard lock{state.mutex};
            const auto now = Clock::now();
            error = waiter.error;
            if (!error && state.pacing.may_begin(now)) co_return Attempt{*this, state.pacing.begin(now), now};
            due = state.pacing.next_time();
            last_error = state.current_error;
            if (!error && !registration) state.waiters.push_back(&waiter);
        }
        if (error) try {
                std::rethrow_exception(error);
            } catch (const ConnectionError& cause) {
                throw_copy(cause);
            }
        if (!registration) registration.emplace(*this, state, waiter);
        if (deadline.expired())
            throw Timeout(pool_ + ": no attempt to connect was due in time; the last one failed: " +
                          (last_error.empty() ? "it has not ended" : last_error));
        co_await async::Wait{.signal = true, .until = std::min(deadline, Deadline::at(due))};
        if (state_.get_if_of_this_process() != &state)
            throw ConnectionError(pool_ + ": the process forked while it waited to connect");
    }
}

// -- endpoints

void BrokerStatus::record_failure(std::size_t endpoint, const ConnectionError& error) {
    {
        State& state = state_.get();
        const std::lock_guard lock{state.mutex};
        ++state.attempts;
        ++state.failures;
        state.at(endpoint).avoid_until = Clock::now() + avoid_after_failure;
        state.current_error = state.last_error = error.what();
        state.last_error_at = std::chrono::system_clock::now();
    }
    observe([&](PoolObserver& observer) { observer.connect_failed(pool_, error); });
}

void BrokerStatus::record_connect(std::size_t endpoint, std::string name, std::chrono::nanoseconds duration) {
    {
        State& state = state_.get();
        const std::lock_guard lock{state.mutex};
        ++state.attempts;
        if (state.not_replaced != 0) {
            --state.not_replaced;
            ++state.reconnects;
        }
        state.current_error.clear();
        state.endpoint = name;
        EndpointState& reached = state.at(endpoint);
        ++reached.connections;
        reached.avoid_until = {};
        state.times.add(duration);
    }
    observe([&](PoolObserver& observer) { observer.connected(pool_, name, duration); });
}

void BrokerStatus::record_end(std::size_t endpoint, std::optional<std::string> lost) {
    {
        State& state = state_.get();
        const std::lock_guard lock{state.mutex};
        EndpointState& ended = state.at(endpoint);
        ended.connections -= ended.connections != 0 ? 1 : 0;  // none: it is the parent process's
        if (!lost) return;
        ended.avoid_until = Clock::now() + avoid_after_failure;
        ++state.lost;
        ++state.not_replaced;
        state.last_error = *lost;
        state.last_error_at = std::chrono::system_clock::now();
        state.pacing.connection_lost();
        if (!state.suspect_since) state.suspect_since = Clock::now();
    }
    observe([&](PoolObserver& observer) { observer.connection_lost(pool_, *lost); });
}

void BrokerStatus::order_endpoints(std::vector<std::size_t>& order, bool by_connections) const {
    State& state = state_.get();
    const std::lock_guard lock{state.mutex};
    const auto now = Clock::now();
    std::ranges::stable_sort(order, {}, [&](std::size_t endpoint) {
        const EndpointState& at = state.at(endpoint);
        return std::pair{at.avoid_until > now, by_connections ? at.connections : 0};
    });
}

// -- reports

void BrokerStatus::record_failed_call() noexcept {
    State* const state = state_.get_if_of_this_process();
    if (!state) return;
    const std::lock_guard lock{state->mutex};
    ++state->failed_calls;
}

bool BrokerStatus::is_down() const {
    State& state = state_.get();
    const std::lock_guard lock{state.mutex};
    return state.pacing.is_down();
}

std::string BrokerStatus::last_error() const {
    State& state = state_.get();
    const std::lock_guard lock{state.mutex};
    return state.current_error;
}

void BrokerStatus::add_to(PoolStats& stats) const {
    State& state = state_.get();
    const std::lock_guard lock{state.mutex};
    stats.connect_attempts = state.attempts;
    stats.connect_failures = state.failures;
    stats.reconnects = state.reconnects;
    stats.connections_lost = state.lost;
    stats.last_error = state.last_error;
    stats.last_error_at = state.last_error_at;
    stats.endpoint = state.endpoint;
    stats.connect = state.times;
}

}  // namespace kombu::detail
