// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/consumer.hpp>
#include <kombu/error.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/consumer_state.hpp"
#include "net/blocking_driver.hpp"

#include <utility>

namespace kombu {

using detail::ConnectionState;
using detail::ConsumerState;

namespace {

ConsumerState& require_state(const std::shared_ptr<ConsumerState>& state) {
    if (!state) throw LeaseError("the consumer was moved from");
    return *state;
}

/// Runs a part of an operation on the connection, on the caller's thread.
template <class Start>
auto run_exclusively(const std::shared_ptr<ConsumerState>& state, OptionalTimeout timeout, Start start) {
    require_state(state);
    ConnectionState& connection = state->connection().checked();
    const ConnectionState::OperationGuard guard{connection};
    return net::run(start(*state, connection.deadline(timeout)));
}

/// The same as an operation.
template <class T, class Start>
async::Operation<T> as_operation(std::shared_ptr<ConsumerState> state, Start start) {
    require_state(state);
    ConnectionState& connection = state->connection().checked();
    const ConnectionState::OperationGuard guard{connection};
    co_return co_await start(*state, connection.deadline({}));
}

void check_handlers(const ConsumerState& state) {
    if (!state.on_message && state.callbacks.empty())
        throw ConfigurationError("consumer: has neither a message handler nor a callback");
}

}  // namespace

Consumer::Consumer(Connection& connection, std::vector<Queue> queues, ConsumerOptions options)
    : state_(std::make_shared<ConsumerState>(detail::ConnectionRef{detail::ClientAccess::state(connection)},
                                             std::move(queues), std::move(options))) {
    run_exclusively(state_, {}, [](ConsumerState& state, Deadline deadline) { return state.open(deadline); });
    state_->connection().checked().add_consumer(state_);
}
Consumer::Consumer(Consumer&&) noexcept = default;
Consumer& Consumer::operator=(Consumer&& other) noexcept {
    if (state_ && state_ != other.state_) state_->close();
    state_ = std::move(other.state_);
    return *this;
}
Consumer::~Consumer() {
    if (state_) state_->close();
}

void Consumer::on_message(MessageHandler handler) { require_state(state_).on_message = std::move(handler); }
void Consumer::register_callback(Callback callback) { require_state(state_).callbacks.push_back(std::move(callback)); }
void Consumer::on_decode_error(DecodeErrorHandler handler) {
    require_state(state_).on_decode_error = std::move(handler);
}
void Consumer::on_cancelled(CancelHandler handler) { require_state(state_).on_cancelled = std::move(handler); }

void Consumer::consume(OptionalTimeout timeout) {
    check_handlers(require_state(state_));
    run_exclusively(state_, timeout, [](ConsumerState& state, Deadline deadline) { return state.consume(deadline); });
}

void Consumer::cancel(OptionalTimeout timeout) {
    run_exclusively(state_, timeout, [](ConsumerState& state, Deadline deadline) { return state.cancel(deadline); });
}

void Consumer::cancel_by_queue(std::string_view queue, OptionalTimeout timeout) {
    run_exclusively(state_, timeout,
                    [&](ConsumerState& state, Deadline deadline) { return state.cancel(deadline, queue); });
}

bool Consumer::consuming_from(std::string_view queue) const noexcept { return state_ && state_->consuming_from(queue); }

void Consumer::qos(std::uint16_t prefetch_count, OptionalTimeout timeout) {
    run_exclusively(state_, timeout, [&](ConsumerState& state, Deadline deadline) {
        return state.set_prefetch_count(prefetch_count, deadline);
    });
}

std::uint32_t Consumer::purge(OptionalTimeout timeout) {
    return run_exclusively(state_, timeout,
                           [](ConsumerState& state, Deadline deadline) { return state.purge(deadline); });
}

void Consumer::recover(OptionalTimeout timeout) {
    run_exclusively(state_, timeout, [](ConsumerState& state, Deadline deadline) { return state.recover(deadline); });
}

void Consumer::ack_until(Message& message) {
    net::run(async::Operations::acknowledge_until(require_state(state_), message));
}

const std::vector<Queue>& Consumer::queues() const noexcept { return require_state(state_).queues(); }

async::Operation<Message> async::Operations::receive(Consumer& consumer) {
    return as_operation<Message>(consumer.state_, [](ConsumerState& state, Deadline) { return state.receive(); });
}

async::Operation<> async::Operations::consume(Consumer& consumer) {
    return as_operation<void>(consumer.state_,
                              [](ConsumerState& state, Deadline deadline) { return state.consume(deadline); });
}

async::Operation<> async::Operations::cancel(Consumer& consumer) {
    return as_operation<void>(consumer.state_,
                              [](ConsumerState& state, Deadline deadline) { return state.cancel(deadline); });
}

namespace {

void call_back(ConsumerState& state, Message& message) {
    // Copies: a handler may replace itself, or destroy the consumer.
    if (const auto handler = state.on_message) return handler(message);
    const auto callbacks = state.callbacks;
    const Json* payload = nullptr;
    try {
        payload = &message.payload();
    } catch (const Error& error) {
        const auto handler = state.on_decode_error;
        if (!handler) throw;
        return handler(message, error);
    }
    for (const auto& callback : callbacks) callback(*payload, message);
}

/// Hands out the next message of a consumer whose turn it is.
bool dispatch_next(ConnectionState& connection) {
    // A handler that next_message() calls may add consumers.
    for (std::size_t i = 0; i < connection.consumers().size(); ++i) {
        const auto consumer = connection.consumers()[i].lock();
        if (!consumer) continue;
        auto message = consumer->next_message();
        if (!message) continue;
        connection.on_served(i);
        call_back(*consumer, *message);
        return true;
    }
    return false;
}

async::Operation<> flush_and_wait(ConnectionState& connection, Deadline until) {
    const ConnectionState::OperationGuard guard{connection};
    for (std::size_t i = 0; i < connection.consumers().size(); ++i) {
        const auto consumer = connection.consumers()[i].lock();
        if (consumer && consumer->has_unsent()) co_await consumer->flush(connection.deadline({}));
    }
    co_await connection.await_events(until, until, false);
}

}  // namespace

bool Connection::drain_events(OptionalTimeout timeout) {
    if (!state_) throw LeaseError("the connection was moved from");
    ConnectionState& state = *state_;
    const ConnectionState::DrainGuard guard{state};
    const Deadline until = Deadline::after(timeout);
    for (bool last = false;;) {
        if (dispatch_next(state)) return true;
        if (last) return false;
        last = until.expired();
        net::run(flush_and_wait(state, until));
    }
}

}  // namespace kombu
