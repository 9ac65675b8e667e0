// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/batch.hpp>
#include <kombu/error.hpp>
#include <kombu/producer.hpp>
#include <kombu/serialization.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/prepared_message.hpp"
#include "client/throw_copy.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <optional>
#include <utility>

namespace kombu {
namespace {

/// Retries without a bound and without a timeout have no deadline, as the caller asked. Any other publish without a
/// timeout ends by the operation timeout.
Deadline total_deadline(const PublishOptions& options, const detail::ConnectionState& connection) {
    const bool bounded_by_policy = options.retry && options.retry_policy.timeout.has_value();
    const Deadline policy = bounded_by_policy ? Deadline::after(options.retry_policy.timeout) : Deadline::never();
    if (options.timeout.has_value()) return std::min(policy, Deadline::after(options.timeout));
    if (options.retry && (bounded_by_policy || !options.retry_policy.max_retries.value(false))) return policy;
    return connection.deadline({});
}

struct PendingPublish {
    detail::ConnectionRef connection;
    PreparedMessage message;
    OptionalTimeout confirm_timeout{};
    Deadline deadline = Deadline::never();
    bool has_timeout = false;
};

/// Separate from start_publish(), so that encoding and its errors come at the call and not when the operation runs.
async::Operation<> send(PendingPublish pending) {
    const PreparedMessage& message = pending.message;
    detail::ConnectionState& connection = pending.connection.checked();
    const detail::ConnectionState::OperationGuard guard{connection};
    const Deadline deadline = pending.deadline;
    const bool retries = message.retry_policy.has_value();
    Backoff backoff{retries ? *message.retry_policy : RetryPolicy{.max_retries = 0}, deadline, pending.has_timeout};
    for (;;) {
        // The operation timeout bounds each attempt, even when the number of retries is unlimited.
        const Deadline attempt_deadline = retries ? std::min(deadline, connection.deadline({})) : deadline;
        std::optional<std::chrono::milliseconds> pause;
        try {
            std::shared_ptr<TransportChannel> channel = connection.ready_channel();
            if (!channel) channel = co_await connection.default_channel(attempt_deadline);
            for (const Entity& entity : message.declare)
                if (!is_declared(connection, entity))
                    co_await declare_and_remember(connection, *channel, entity, attempt_deadline);
            co_await channel->basic_publish(message.outgoing, attempt_deadline, pending.confirm_timeout);
            co_return;
        } catch (const OperationalError& error) {
            if (dynamic_cast<const ChannelError*>(&error)) connection.forget_declarations();
            if (dynamic_cast<const Nacked*>(&error)) connection.on_nacked();
            pause = retries && error.is_retryable() ? backoff.next() : std::nullopt;
            const std::string attempts = pause ? std::string{} : backoff.describe();
            if (!attempts.empty()) detail::throw_copy(error, attempts);
            if (!pause) throw;
        }
        co_await connection.pause_before_retry(std::min(Deadline::after(*pause), deadline));
    }
}

template <class Body>
async::Operation<> start_publish(const detail::ConnectionRef& connection, const ProducerOptions& producer,
                                 const Body& body, const PublishOptions& options) {
    detail::ConnectionState& state = connection.checked();
    const Deadline deadline = total_deadline(options, state);
    SerializedBody encoded = encode(body, options, producer, deadline);
    PreparedMessage message = prepare(std::move(encoded), options, producer, state, deadline);
    const bool has_timeout = options.timeout.has_value() || options.retry_policy.timeout.has_value();
    return send({connection, std::move(message), options.confirm_timeout, deadline, has_timeout});
}

}  // namespace

Producer::Producer(Connection& connection, ProducerOptions options)
    : connection_(detail::ClientAccess::state(connection)), options_(std::make_shared<const ProducerOptions>(std::move(options))) {}

const ProducerOptions& Producer::options() const noexcept {
    static const ProducerOptions defaults{};
    return options_ ? *options_ : defaults;
}

void Producer::revive(Connection& connection) {
    connection_.assign(detail::ClientAccess::state(connection));
}

void Producer::publish_json(const Json& body, const PublishOptions& options) {
    net::run(async::Operations::publish(*this, body, options));
}
void Producer::publish_text(std::string_view body, const PublishOptions& options) {
    net::run(async::Operations::publish(*this, body, options));
}
void Producer::publish_bytes(std::span<const std::byte> body, const PublishOptions& options) {
    net::run(async::Operations::publish(*this, body, options));
}

Batch Producer::batch() const { return Batch{connection_, options()}; }

bool Producer::maybe_declare(const Entity& entity, OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.checked();
    const detail::ConnectionState::OperationGuard guard{connection};
    const Deadline deadline = connection.deadline(timeout);
    // The channel comes first: a new session, or a new channel after an error, clears the remembered declarations.
    const auto channel = net::run(connection.default_channel(deadline));
    if (is_declared(connection, entity)) return false;
    net::run(declare_and_remember(connection, *channel, entity, deadline));
    return true;
}

namespace async {

Operation<> Operations::publish(const Producer& producer, const Json& body, const PublishOptions& options) {
    return start_publish(producer.connection_, producer.options(), body, options);
}
Operation<> Operations::publish(const Producer& producer, std::string_view body, const PublishOptions& options) {
    return start_publish(producer.connection_, producer.options(), body, options);
}
Operation<> Operations::publish(const Producer& producer, std::span<const std::byte> body,
                                const PublishOptions& options) {
    return start_publish(producer.connection_, producer.options(), body, options);
}

}  // namespace async
}  // namespace kombu
