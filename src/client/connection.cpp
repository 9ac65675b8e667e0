// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/connection.hpp>
#include <kombu/error.hpp>
#include <kombu/simple_queue.hpp>

#include "client/client_access.hpp"
#include "client/connection_config.hpp"
#include "client/connection_state.hpp"
#include "client/throw_copy.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <ostream>
#include <utility>

namespace kombu {

using detail::ConnectionState;

namespace {

constexpr std::chrono::seconds close_timeout{1};

/// Throws LeaseError for a moved-from connection.
ConnectionState& require_state(const std::shared_ptr<ConnectionState>& state) {
    if (!state) throw LeaseError("the connection was moved from");
    return *state;
}

const ConnectionParameters& parameters(const std::shared_ptr<ConnectionState>& state) noexcept {
    static const auto* const none = new ConnectionParameters{.endpoints = {Endpoint{}}};
    return state ? state->config().parameters : *none;
}

const Endpoint& endpoint(const std::shared_ptr<ConnectionState>& state) noexcept {
    return state ? state->endpoint_in_use() : parameters(state).endpoints.front();
}

async::Operation<> connect_by(std::shared_ptr<ConnectionState> state, Deadline deadline) {
    const ConnectionState::OperationGuard guard{*state};
    co_await state->connect(deadline);
}

async::Operation<BrokerInfo> broker_info_by(std::shared_ptr<ConnectionState> state, Deadline deadline) {
    const ConnectionState::OperationGuard guard{*state};
    BrokerInfo info = co_await state->broker_info(deadline);
    co_return info;
}

Queue queue_named(std::string_view name) {
    const std::string text{name};
    return {text, Exchange{text}, text};
}

std::shared_ptr<ConnectionState> clone_unconnected(const Connection& other) {
    return detail::ClientAccess::state(other)
               ? std::make_shared<ConnectionState>(detail::ClientAccess::state(other)->shared_config())
               : nullptr;
}

}  // namespace

Connection::Connection(std::string_view url, const ConnectionOptions& options)
    : state_(std::make_shared<ConnectionState>(detail::parse_connection(url, options))),
      fingerprint_(detail::next_unique_id()) {}
Connection::Connection(const Connection& other) : state_(clone_unconnected(other)), fingerprint_(other.fingerprint_) {}
Connection& Connection::operator=(const Connection& other) {
    if (this == &other) return *this;
    state_ = clone_unconnected(other);
    fingerprint_ = other.fingerprint_;
    return *this;
}
Connection::Connection(Connection&& other) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept = default;
Connection::~Connection() = default;

Connection& Connection::connect(OptionalTimeout timeout) {
    net::run(async::Operations::connect(*this, timeout));
    return *this;
}

async::Operation<> async::Operations::connect(Connection& connection, OptionalTimeout timeout) {
    require_state(connection.state_);
    return connect_by(connection.state_, Deadline::after(timeout));
}

BrokerInfo Connection::broker_info(OptionalTimeout timeout) {
    return net::run(async::Operations::broker_info(*this, timeout));
}

async::Operation<BrokerInfo> async::Operations::broker_info(Connection& connection, OptionalTimeout timeout) {
    ConnectionState& state = require_state(connection.state_);
    return broker_info_by(connection.state_, state.deadline(timeout));
}

Connection& Connection::ensure_connection(const RetryPolicy& policy, const OnError& on_error) {
    attempt_repeatedly([] {}, policy, on_error);
    return *this;
}

void Connection::attempt_repeatedly(const std::function<void()>& attempt, const RetryPolicy& policy,
                                    const OnError& on_error) {
    require_state(state_);
    const Deadline deadline = Deadline::after(policy.timeout);
    Backoff backoff{policy, deadline, policy.timeout.has_value()};
    for (;;) {
        try {
            net::run(connect_by(state_, deadline));
            return attempt();
        } catch (const OperationalError& error) {
            const auto pause = error.is_retryable() ? backoff.next() : std::nullopt;
            const std::string attempts = pause ? std::string{} : backoff.describe();
            if (!attempts.empty() && detail::is_copyable(error)) detail::throw_copy(error, attempts);
            if (!pause) throw;
            if (on_error) on_error(error, *pause);
            backoff.sleep(*pause);
        }
    }
}

bool Connection::connected() const noexcept { return state_ && state_->connected(); }

void Connection::release() noexcept {
    if (state_) state_->release(Deadline::after(close_timeout));
}

Channel Connection::default_channel() {
    ConnectionState& state = require_state(state_);
    const ConnectionState::OperationGuard guard{state};
    return detail::ClientAccess::channel(
        {detail::ConnectionRef{state_}, net::run(state.default_channel(state.deadline({})))});
}

Channel Connection::channel() {
    ConnectionState& state = require_state(state_);
    const ConnectionState::OperationGuard guard{state};
    return detail::ClientAccess::channel(
        {detail::ConnectionRef{state_}, net::run(state.open_channel(state.deadline({})))});
}

SimpleQueue Connection::simple_queue(std::string_view name) { return simple_queue(name, {}); }
SimpleQueue Connection::simple_queue(std::string_view name, const SimpleQueueOptions& options) {
    return simple_queue(queue_named(name), options);
}
SimpleQueue Connection::simple_queue(const Queue& queue) { return simple_queue(queue, {}); }
SimpleQueue Connection::simple_queue(const Queue& queue, const SimpleQueueOptions& options) {
    require_state(state_);
    return SimpleQueue{*this, queue, options};
}

async::Operation<SimpleQueue> async::Operations::simple_queue(Connection& connection, std::string_view name,
                                                              const SimpleQueueOptions& options) {
    return simple_queue(connection, queue_named(name), options);
}

std::string Connection::as_uri(ShowPassword show) const {
    return state_ ? detail::to_uri(state_->config(), show, state_->index_in_use()) : "";
}

const std::string& Connection::transport() const noexcept { return parameters(state_).transport; }
const std::string& Connection::hostname() const noexcept { return endpoint(state_).hostname; }
std::uint16_t Connection::port() const noexcept { return endpoint(state_).port; }
const std::string& Connection::userid() const noexcept { return endpoint(state_).userid; }
const std::string& Connection::virtual_host() const noexcept { return endpoint(state_).virtual_host; }
std::chrono::nanoseconds Connection::connect_timeout() const noexcept { return parameters(state_).connect_timeout; }
std::chrono::nanoseconds Connection::heartbeat() const noexcept { return parameters(state_).heartbeat; }
const Json& Connection::transport_options() const noexcept { return parameters(state_).transport_options; }

std::size_t Connection::hash() const noexcept { return state_ ? state_->config().hash : 0; }

bool operator==(const Connection& a, const Connection& b) noexcept {
    if (!a.state_ || !b.state_) return a.state_ == b.state_;
    const auto &left = a.state_->config(), &right = b.state_->config();
    return &left == &right || (left.hash == right.hash && left.identity == right.identity);
}

std::ostream& operator<<(std::ostream& out, const Connection& connection) { return out << connection.as_uri(); }

}  // namespace kombu
