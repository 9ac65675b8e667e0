// SPDX-License-Identifier: BSD-3-Clause
#include "client/connection_state.hpp"

#include <kombu/error.hpp>

#include "client/consumer_state.hpp"
#include "client/message_builder.hpp"
#include "client/throw_copy.hpp"
#include "net/blocking_driver.hpp"
#include "net/round_trip.hpp"
#include "support/random.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <numeric>
#include <utility>

namespace kombu::detail {

namespace {

std::string endpoint_name(const Endpoint& endpoint) {
    return endpoint.port == 0 ? endpoint.hostname : endpoint.hostname + ":" + std::to_string(endpoint.port);
}

[[noreturn]] void throw_interrupted() {
    throw ConnectionError("the connection was interrupted: its pool was reset", 0, false);
}

}  // namespace

ConnectionState::ConnectionState(std::shared_ptr<const ConnectionConfig> config)
    : config_(std::move(config)),
      message_builder_(std::make_unique<MessageBuilder>()),
      operation_timeout_(config_->parameters.operation_timeout()),
      has_confirms_(config_->parameters.confirm_publish()) {}

ConnectionState::~ConnectionState() { abandon(); }

ConnectionState::OperationGuard::OperationGuard(ConnectionState& state) : state_(state) {
    if (state.is_inherited()) state.abandon();
    if (state.in_use_.exchange(true, std::memory_order_acquire))
        throw LeaseError("another operation is using the connection: run one at a time, or use more connections");
}

ConnectionState::OperationGuard::~OperationGuard() {
    if (state_.broker_ && std::uncaught_exceptions() != 0 && !state_.connected()) state_.broker_->record_failed_call();
    state_.in_use_.store(false, std::memory_order_release);
    if (state_.close_pending_) state_.abandon();
}

void ConnectionState::close_for_good() noexcept {
    next_lease();
    if (!in_use_) return abandon();
    close_pending_ = true;
    interrupt();  // the guard of the running operation closes the session
}

async::Operation<> ConnectionState::connect(Deadline deadline) {
    if (is_inherited()) abandon();
    if (interrupted_) throw_interrupted();
    if (connected()) co_return;
    // Others come first: an endpoint that failed may hang.
    if (session_) advance_endpoint();
    abandon();
    connect_failed_ = true;
    auto session = co_await connect_with_retry(deadline);
    connect_failed_ = false;
    {
        std::lock_guard<ForkSafeMutex> lock{session_mutex_};
        session_ = std::move(session);
        session_endpoint_ = last_endpoint_;
    }
    counters_.connected([this] { return to_uri(*config_, ShowPassword::no); });
    if (!interrupted_) co_return;
    abandon();
    throw_interrupted();
}

void ConnectionState::advance_endpoint() noexcept {
    last_endpoint_ = (last_endpoint_ + 1) % config_->parameters.endpoints.size();
}

std::vector<std::size_t> ConnectionState::endpoint_order() const {
    const std::vector<Endpoint>& endpoints = config_->parameters.endpoints;
    const FailoverStrategy& strategy = config_->parameters.failover_strategy;
    if (const auto& function = strategy.function()) {
        std::vector<std::size_t> order = (*function)(endpoints, last_endpoint_);
        const bool is_invalid =
            order.empty() || std::ranges::any_of(order, [&](std::size_t index) { return index >= endpoints.size(); });
        if (is_invalid)
            throw ConfigurationError("failover_strategy: the function returned no endpoint, or one too far");
        return order;
    }
    std::vector<std::size_t> order(endpoints.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (strategy.name() == "shuffle")
        std::ranges::shuffle(order, thread_random());
    else
        std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(last_endpoint_), order.end());
    return order;
}

async::Operation<std::shared_ptr<TransportConnection>> ConnectionState::connect_with_retry(Deadline deadline) {
    const ConnectionParameters& parameters = config_->parameters;
    const RetryPolicy policy = parameters.connect_policy();
    const Deadline retry_deadline = std::min(deadline, Deadline::after(policy.timeout));
    Backoff backoff{policy, retry_deadline, true};
    for (;;) {
        std::optional<std::chrono::milliseconds> pause;
        try {
            auto session = co_await connect_once(retry_deadline);
            co_return session;
        } catch (const ConnectionError& error) {
            if (error.is_retryable() && !interrupted_) pause = backoff.next();
            const std::string attempts = pause ? std::string{} : backoff.describe();
            if (!attempts.empty()) throw_copy(error, attempts);
            if (!pause) throw;
        }
        co_await pause_before_retry(Deadline::after(*pause));
    }
}

async::Operation<> ConnectionState::pause_before_retry(Deadline until) {
    return broker_ && !connected() && broker_->is_down() ? broker_->await_recovery(until) : sleep_until(until);
}

async::Operation<std::shared_ptr<TransportConnection>> ConnectionState::connect_once(Deadline deadline) {
    if (!broker_) co_return co_await connect_any(deadline, nullptr);
    BrokerStatus::Attempt attempt =
        co_await broker_->begin_attempt({deadline, config_->parameters.connect_timeout, interrupted_});
    try {
        auto session = co_await connect_any(deadline, &attempt);
        session_epoch_ = attempt.succeeded();
        co_return session;
    } catch (const ConnectionError& error) {
        attempt.failed(error);
        throw;
    }
}

async::Operation<std::shared_ptr<TransportConnection>> ConnectionState::connect_any(Deadline deadline,
                                                                                    BrokerStatus::Attempt* attempt) {
    const ConnectionParameters& parameters = config_->parameters;
    std::string failures;
    int code = 0;
    bool retryable = false;
    for (std::vector<std::size_t> candidates = endpoint_order(); !candidates.empty();) {
        std::size_t index = candidates.front();
        if (attempt)
            index = attempt->choose_endpoint(candidates, parameters.failover_strategy);
        else
            candidates.erase(candidates.begin());
        const Endpoint& endpoint = parameters.endpoints[index];
        const Deadline attempt_deadline = std::min(deadline, Deadline::after(parameters.connect_timeout));
        try {
            const auto start = Clock::now();
            auto session = co_await config_->transport->connect(endpoint, parameters, attempt_deadline);
            last_endpoint_ = index;
            if (attempt) attempt->endpoint_connected(endpoint_name(endpoint), Clock::now() - start);
            co_return session;
        } catch (const ConnectionError& error) {
            if (attempt) attempt->endpoint_failed(error);
            advance_endpoint();
            if (parameters.endpoints.size() == 1) throw;
            failures += (failures.empty() ? "" : "; ") + std::string{error.what()};
            code = error.code();
            retryable = retryable || error.is_retryable();
        }
        if (deadline.expired()) throw Timeout("no endpoint accepted a connection in time: " + failures);
        if (interrupted_) break;
    }
    throw ConnectionError("no endpoint accepts connections: " + failures, code, retryable);
}

async::Operation<std::shared_ptr<TransportChannel>> ConnectionState::open_channel(Deadline deadline) {
    co_await connect(deadline);
    const std::shared_ptr<TransportConnection> session = session_;
    auto channel = co_await session->open_channel(deadline);
    std::erase_if(channels_, [](const auto& entry) { return entry.expired(); });
    channels_.push_back(channel);
    co_return channel;
}

const std::shared_ptr<TransportChannel>& ConnectionState::ready_channel() const noexcept {
    static constinit std::shared_ptr<TransportChannel> none;
    const bool ready = !is_inherited() && default_channel_ && default_channel_->is_open() && !interrupted_;
    return ready ? default_channel_ : none;
}

async::Operation<std::shared_ptr<TransportChannel>> ConnectionState::default_channel(Deadline deadline) {
    if (is_inherited()) abandon();
    if (const auto& ready = ready_channel()) co_return ready;
    if (default_channel_) {
        default_channel_->close_nowait();
        declared_fingerprints_.clear();  // closed by an error of the broker, maybe for an entity remembered as declared
    }
    co_await connect(deadline);
    const std::shared_ptr<TransportConnection> session = session_;
    default_channel_ = co_await session->open_channel(deadline);
    co_return default_channel_;
}

ConnectionState::DrainGuard::DrainGuard(ConnectionState& state) : state_(state.shared_from_this()) {
    if (state.is_draining_) throw LeaseError("drain_events: called by a handler that drain_events has called");
    state.is_draining_ = true;
}

void ConnectionState::add_consumer(const std::shared_ptr<ConsumerState>& consumer) {
    std::erase_if(consumers_, [](const auto& entry) { return entry.expired(); });
    consumers_.push_back(consumer);
}

void ConnectionState::on_served(std::size_t index) {
    const auto served = consumers_.begin() + static_cast<std::ptrdiff_t>(index);
    std::rotate(served, served + 1, consumers_.end());
}

async::Operation<> ConnectionState::await_events(Deadline until, Deadline wake_at, bool wakeable) {
    if (!connected() && until.expired()) co_return;  // nobody consumes
    co_await connect(std::min(until, deadline({})));
    const std::shared_ptr<TransportConnection> session = session_;
    co_await session->await_events(until, wake_at, wakeable);
}

async::Operation<std::optional<std::string>> ConnectionState::await_value(std::string key,
                                                                          std::optional<std::string> known,
                                                                          Deadline until) {
    co_await connect(std::min(deadline({}), net::allow_round_trip(until)));
    const std::shared_ptr<TransportConnection> session = session_;
    auto value = co_await session->await_value(std::move(key), std::move(known), until);
    co_return value;
}

async::Operation<> ConnectionState::erase_value(std::string key, Deadline deadline) {
    co_await connect(deadline);
    const std::shared_ptr<TransportConnection> session = session_;
    co_await session->erase_value(std::move(key), deadline);
}

async::Operation<BrokerInfo> ConnectionState::broker_info(Deadline deadline) {
    co_await connect(deadline);
    const std::shared_ptr<TransportConnection> session = session_;
    BrokerInfo info = co_await session->broker_info(deadline);
    co_return info;
}

void ConnectionState::on_nacked() noexcept {
    // A queue that is full refuses messages too, of every channel.
    constexpr std::chrono::seconds replacement_interval{1};
    if (!default_channel_ || !next_replacement_.expired() || default_channel_->unsettled() != 0) return;
    next_replacement_ = Deadline::after(replacement_interval);
    default_channel_->close_nowait();
    default_channel_.reset();
}

void ConnectionState::leak_inherited_session() noexcept {
    // Never destroyed: the destructors would send close messages on sockets that belong to the parent.
    struct LeakedSession {
        std::shared_ptr<TransportConnection> session;
        std::shared_ptr<TransportChannel> channel;
        const LeakedSession* next;
    };
    static std::atomic<const LeakedSession*> leaked_sessions{nullptr};  // keeps them reachable for leak checkers
    auto* const leaked =
        new (std::nothrow) LeakedSession{std::move(session_), std::move(default_channel_), leaked_sessions.load()};
    if (!leaked) std::abort();
    while (!leaked_sessions.compare_exchange_weak(leaked->next, leaked)) {
    }
    channels_.clear();
    declared_fingerprints_.clear();
    interrupted_ = in_use_ = false;
    epoch_ = fork_epoch();
}

std::shared_ptr<TransportConnection> ConnectionState::detach_session() noexcept {
    if (is_inherited()) leak_inherited_session();
    counters_.disconnected();
    record_end_of_session();
    for (const auto& weak_channel : channels_)
        if (const auto channel = weak_channel.lock()) channel->close_nowait();
    if (default_channel_) default_channel_->close_nowait();
    default_channel_.reset();
    channels_.clear();
    declared_fingerprints_.clear();
    std::lock_guard lock{session_mutex_};
    return std::exchange(session_, nullptr);
}

void ConnectionState::record_end_of_session() noexcept try {
    if (!broker_ || !session_) return;
    broker_->record_end(session_endpoint_, session_epoch_, interrupted_ ? nullptr : session_->failure());
} catch (const std::exception&) {
    // Without memory the loss is not counted.
}

void ConnectionState::release(Deadline deadline) noexcept {
    if (in_use_ && !is_inherited()) {  // by an operation, which the interrupt ends
        const std::lock_guard<ForkSafeMutex> lock{session_mutex_};
        if (session_) session_->interrupt();
        return;
    }
    try {
        if (const auto session = detach_session()) net::run(session->close(deadline));
    } catch (...) {
    }
}

void ConnectionState::abandon() noexcept {
    if (const auto session = detach_session()) session->abandon();
}

bool ConnectionState::is_alive() noexcept { return !interrupted_ && (!session_ || session_->is_alive()); }

bool ConnectionState::recycle() noexcept {
    next_lease();
    consumers_.clear();
    if (interrupted_ || in_use_) return false;
    // Otherwise the thread that failed would get it again and again, beside idle connections that work.
    if (!session_) return !connect_failed_;
    if (!session_->is_open()) return false;
    if (!channels_.empty())
        for (const auto& weak_channel : std::exchange(channels_, {}))
            if (const auto channel = weak_channel.lock(); channel && !channel->close_nowait()) return false;
    const bool is_open = default_channel_ && default_channel_->is_open();
    if (default_channel_ && (!is_open || default_channel_->unsettled() != 0)) {
        if (!is_open) declared_fingerprints_.clear();
        if (!default_channel_->close_nowait()) return false;
        default_channel_.reset();
    }
    return true;
}

void ConnectionState::interrupt() noexcept {
    interrupted_ = true;
    std::shared_ptr<TransportConnection> session;
    {
        std::lock_guard lock{session_mutex_};
        session = session_;
    }
    if (session) session->interrupt();
    if (broker_) broker_->wake_waiters();
}

}  // namespace kombu::detail
