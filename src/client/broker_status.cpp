// SPDX-License-Identifier: BSD-3-Clause
#include "client/broker_status.hpp"

#include <kombu/log.hpp>

#include "client/throw_copy.hpp"
#include "support/random.hpp"

#include <algorithm>
#include <cstdio>
#include <new>

namespace kombu::detail {
namespace {

/// For how long an endpoint that failed is tried last: longer than a silent one costs (connect_timeout), and short
/// against the time that a node needs to return.
constexpr std::chrono::seconds avoid_after_failure{10};

/// Troubles with more time between them belong to different outages.
constexpr std::chrono::seconds trouble_ends_after{5};

/// The broker answers, and refuses: it is not down for others.
bool is_refusal(const ConnectionError& error) {
    constexpr int not_allowed = 530;  // a limit on connections, for one
    return !error.is_retryable() || error.code() == not_allowed;
}

template <class Use>
void with_error(const std::exception_ptr& error, Use use) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& caught) {
        use(caught);
    }
}

}  // namespace

void BrokerStatus::State::note_trouble(Clock::time_point since, Clock::time_point now) noexcept {
    if (!is_lost && now - last_trouble > trouble_ends_after) {
        trouble_since.reset();
        failed_calls = 0;
    }
    last_trouble = now;
    if (!trouble_since) trouble_since = since;
}

void BrokerStatus::State::wake_all(const std::shared_ptr<const OperationalError>& error) noexcept {
    for (Waiter* const waiter : waiters) {
        if (waiter->takes_errors && error) waiter->error = error;
        waiter->waker->wake();
    }
}

// -- attempts

BrokerStatus::Attempt::Attempt(Attempt&& other) noexcept
    : status_(std::exchange(other.status_, nullptr)),
      state_(other.state_),
      caller_(other.caller_),
      version_(other.version_),
      begin_(other.begin_),
      endpoint_(std::exchange(other.endpoint_, std::nullopt)),
      reports_(std::move(other.reports_)) {}

BrokerStatus::Attempt::~Attempt() {
    if (!status_) return;
    if (is_of_this_process()) {
        const std::lock_guard lock{state_->mutex};
        release_endpoint(*state_);
        state_->pacing.abandoned();
        state_->wake_all();
    }
    finish();
}

std::size_t BrokerStatus::Attempt::choose_endpoint(std::vector<std::size_t>& candidates,
                                                   const FailoverStrategy& strategy) {
    if (!is_of_this_process()) {
        const std::size_t first = candidates.front();
        candidates.erase(candidates.begin());
        return first;
    }
    const bool by_connections = strategy.name() == "least-connections";
    const std::lock_guard lock{state_->mutex};
    const auto now = Clock::now();
    auto chosen = candidates.begin();
    if (!strategy.function())  // whose order is the user's own
        chosen = std::ranges::min_element(candidates, {}, [&](std::size_t candidate) {
            const EndpointState& at = state_->at(candidate);
            return std::pair{at.avoid_until > now, by_connections ? at.connections : 0};
        });
    endpoint_ = *chosen;
    ++state_->at(*endpoint_).connections;  // so that callers who choose at the same time choose others
    candidates.erase(chosen);
    return *endpoint_;
}

void BrokerStatus::Attempt::release_endpoint(State& state) noexcept {
    if (endpoint_) --state.endpoints[*endpoint_].connections;
    endpoint_.reset();
}

void BrokerStatus::Attempt::endpoint_failed(const ConnectionError& error) {
    if (!is_of_this_process()) return;
    if (status_->observer_) reports_.push_back({.error = std::current_exception()});
    const std::lock_guard lock{state_->mutex};
    ++state_->attempts;
    ++state_->failures;
    if (!is_cut_short(error)) state_->at(*endpoint_).avoid_until = Clock::now() + avoid_after_failure;
    release_endpoint(*state_);
    state_->current_error = state_->last_error = error.what();
    state_->last_error_at = std::chrono::system_clock::now();
}

void BrokerStatus::Attempt::endpoint_connected(std::string name, std::chrono::nanoseconds duration) {
    if (!is_of_this_process()) return;
    if (status_->observer_) reports_.push_back({.endpoint = name, .duration = duration});
    const std::lock_guard lock{state_->mutex};
    ++state_->attempts;
    if (state_->not_replaced != 0) {
        --state_->not_replaced;
        ++state_->reconnects;
    }
    state_->current_error.clear();
    state_->at(*endpoint_).avoid_until = {};
    endpoint_.reset();  // counts until record_end()
    state_->endpoint = std::move(name);
    state_->times.add(duration);
}

AttemptPacing::Version BrokerStatus::Attempt::succeeded() {
    if (!is_of_this_process()) return 0;
    OutageReport report{.pool = status_->pool_};
    bool was_lost = false;
    AttemptPacing::Version epoch = 0;
    {
        const std::lock_guard lock{state_->mutex};
        state_->pacing.succeeded();
        epoch = state_->pacing.epoch();
        was_lost = std::exchange(state_->is_lost, false);
        report.failed_calls = std::exchange(state_->failed_calls, 0);
        const auto since = std::exchange(state_->trouble_since, std::nullopt);
        if (since) report.duration = Clock::now() - *since;
        state_->wake_all();
    }
    BrokerStatus& status = *status_;
    finish();
    if (was_lost) status.report_recovered(report);
    return epoch;
}

bool BrokerStatus::Attempt::is_cut_short(const ConnectionError& error) const {
    return dynamic_cast<const Timeout*>(&error) && !caller_.deadline.is_never() &&
           caller_.deadline.when() < begin_ + caller_.connect_timeout;
}

void BrokerStatus::Attempt::failed(const ConnectionError& error) {
    if (!is_of_this_process()) return;
    const auto now = Clock::now();
    const double random = random_share();
    std::shared_ptr<const OperationalError> for_others;
    try {
        for_others = shared_copy(error);
    } catch (const std::bad_alloc&) {
        // Null: they make an attempt of their own.
    }
    bool begins_outage = false;
    {
        const std::lock_guard lock{state_->mutex};
        release_endpoint(*state_);
        const bool cut_short = is_cut_short(error);
        const bool counts = cut_short ? state_->pacing.cut_short(version_, begin_, now, random)
                                      : state_->pacing.failed(version_, now, random);
        if (counts) state_->note_trouble(begin_, now);
        if (counts && !is_refusal(error)) begins_outage = !std::exchange(state_->is_lost, true);
        // Others have more time.
        state_->wake_all(counts && !cut_short ? for_others : nullptr);
    }
    BrokerStatus& status = *status_;
    finish();
    if (begins_outage) status.report_lost(error);
}

/// Without the lock.
void BrokerStatus::Attempt::finish() noexcept {
    BrokerStatus& status = *std::exchange(status_, nullptr);
    for (const Report& report : reports_)
        status.observe([&](PoolObserver& observer) {
            if (!report.error) return observer.connected(status.pool_, report.endpoint, report.duration);
            with_error(report.error,
                       [&](const std::exception& error) { observer.connect_failed(status.pool_, error); });
        });
}

// -- waiting

/// A place among the waiters.
class BrokerStatus::Registration {
public:
    Registration(BrokerStatus& status, State& state, Waiter& waiter) : status_(status), state_(state), waiter_(waiter) {
        const std::lock_guard lock{state_.mutex};
        state_.waiters.push_back(&waiter_);
    }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() {
        if (!is_of_this_process()) return;
        const std::lock_guard lock{state_.mutex};
        state_.waiters.remove(&waiter_);
    }
    bool is_of_this_process() const noexcept { return status_.state_.get_if_of_this_process() == &state_; }

private:
    BrokerStatus& status_;
    State& state_;
    Waiter& waiter_;
};

async::Operation<BrokerStatus::Attempt> BrokerStatus::begin_attempt(Caller caller) {
    State& state = state_.get();
    {
        const std::lock_guard lock{state.mutex};
        const auto now = Clock::now();
        if (state.pacing.may_begin(now)) co_return Attempt{*this, state, caller, state.pacing.begin(now), now};
    }
    async::Waker& waker = co_await async::this_waker;
    Waiter waiter{.waker = &waker, .takes_errors = true};
    const Registration registration{*this, state, waiter};
    for (;;) {
        if (caller.interrupted) throw ConnectionError(pool_ + ": interrupted: the pool was reset", 0, false);
        Clock::time_point due;
        std::shared_ptr<const OperationalError> error;
        std::string last_error;
        {
            const std::lock_guard lock{state.mutex};
            const auto now = Clock::now();
            error = waiter.error;
            if (!error && state.pacing.may_begin(now))
                co_return Attempt{*this, state, caller, state.pacing.begin(now), now};
            due = state.pacing.next_time();
            last_error = state.current_error;
        }
        if (error) throw_copy(*error);
        if (caller.deadline.expired())
            throw Timeout(
                pool_ + ": no attempt to connect was due in time; " +
                (last_error.empty() ? "the current one has not ended" : "the last one failed: " + last_error));
        co_await async::Wait{.signal = true, .until = std::min(caller.deadline, Deadline::at(due))};
        if (!registration.is_of_this_process())
            throw ConnectionError(pool_ + ": the process forked while it waited to connect");
    }
}

async::Operation<> BrokerStatus::await_recovery(Deadline until) {
    State& state = state_.get();
    async::Waker& waker = co_await async::this_waker;
    Waiter waiter{.waker = &waker, .takes_errors = false};
    const Registration registration{*this, state, waiter};
    while (!until.expired() && registration.is_of_this_process() && is_down())
        co_await async::Wait{.signal = true, .until = until};
}

void BrokerStatus::wake_waiters() noexcept {
    State* const state = state_.get_if_of_this_process();
    if (!state) return;
    const std::lock_guard lock{state->mutex};
    state->wake_all();
}

// -- reports

template <class Notify>
void BrokerStatus::observe(Notify notify) noexcept {
    if (!observer_) return;
    try {
        notify(*observer_);
    } catch (...) {
    }
}

void BrokerStatus::report_lost(const ConnectionError& error) noexcept try {
    if (is_logging()) log(LogLevel::warning, pool_ + ": the broker is lost: " + error.what());
    observe([&](PoolObserver& observer) { observer.broker_lost(pool_, error); });
} catch (const std::exception&) {
    // No memory for the text.
}

void BrokerStatus::report_recovered(const OutageReport& report) noexcept try {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f s", std::chrono::duration<double>(report.duration).count());
    if (is_logging())
        log(LogLevel::info, pool_ + ": the broker is back after " + seconds + "; " +
                                std::to_string(report.failed_calls) + (report.failed_calls == 1 ? " call" : " calls") +
                                " failed meanwhile");
    observe([&](PoolObserver& observer) { observer.broker_recovered(report); });
} catch (const std::exception&) {
    // No memory for the text.
}

void BrokerStatus::record_end(std::size_t endpoint, AttemptPacing::Version epoch, const std::exception_ptr& failure) {
    std::string reason;
    bool by_deadline = false;
    if (failure)
        with_error(failure, [&](const std::exception& error) {
            reason = error.what();
            by_deadline = dynamic_cast<const Timeout*>(&error) != nullptr;
        });
    {
        State& state = state_.get();
        const std::lock_guard lock{state.mutex};
        EndpointState& ended = state.at(endpoint);
        ended.connections -= ended.connections != 0 ? 1 : 0;  // none: it is the parent process's
        if (!failure) return;
        const auto now = Clock::now();
        ++state.lost;
        ++state.not_replaced;
        state.last_error = reason;
        state.last_error_at = std::chrono::system_clock::now();
        // A caller with little time says nothing about the broker.
        if (!by_deadline) {
            ended.avoid_until = now + avoid_after_failure;
            state.pacing.connection_lost(epoch);
            state.note_trouble(now, now);
        }
    }
    observe([&](PoolObserver& observer) { observer.connection_lost(pool_, reason); });
}

void BrokerStatus::record_failed_call() noexcept {
    State* const state = state_.get_if_of_this_process();
    if (!state) return;
    const std::lock_guard lock{state->mutex};
    const auto now = Clock::now();
    state->note_trouble(now, now);
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
    // Without a caller nobody finds out that the broker is back: who asks should let some come.
    stats.is_down = state.pacing.is_down() && Clock::now() - state.last_trouble < std::chrono::minutes{1};
    stats.endpoint = state.endpoint;
    stats.connect = state.times;
}

}  // namespace kombu::detail
