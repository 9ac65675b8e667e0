// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/batch.hpp>
#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>
#include <kombu/producer.hpp>
#include <kombu/serialization.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/message_builder.hpp"
#include "client/throw_copy.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace kombu {
namespace {

/// The attempts of one publish.
class Attempts {
public:
    Attempts(const PublishOptions& options, const detail::ConnectionState& connection)
        : Attempts(options, connection, start_of(options)) {}
    Attempts(const PublishOptions& options, const detail::ConnectionState& connection, Clock::time_point start)
        : deadline_(total_deadline(options, connection, start)) {
        const bool has_timeout = options.timeout.has_value() || options.retry_policy.timeout.has_value();
        if (options.retry) backoff_.emplace(options.retry_policy, deadline_, has_timeout, start);
    }

    /// Of the whole publish.
    Deadline deadline() const noexcept { return deadline_; }
    /// Of the next attempt: the operation timeout bounds each, even when the number of retries is unlimited.
    Deadline attempt_deadline(const detail::ConnectionState& connection) const {
        return backoff_ ? std::min(deadline_, connection.deadline({})) : deadline_;
    }

    /// Called by the handler of an attempt's error. Returns the pause before the next attempt; without one it throws
    /// the error.
    std::chrono::milliseconds pause_after(const OperationalError& error, detail::ConnectionState& connection) {
        if (dynamic_cast<const ChannelError*>(&error)) connection.forget_declarations();
        if (dynamic_cast<const Nacked*>(&error)) connection.on_nacked();
        if (const auto pause = backoff_ && error.is_retryable() ? backoff_->next() : std::nullopt) return *pause;
        connection.counters().not_published(error);
        if (!backoff_) throw;
        const std::string attempts = backoff_->describe();
        if (!attempts.empty()) detail::throw_copy(error, attempts);
        throw;
    }

private:
    /// Now. The operation timeout, which is there to end a wait for a lost peer, may be some milliseconds longer, and
    /// the coarse clock costs much less.
    static Clock::time_point start_of(const PublishOptions& options) {
        if (options.retry || options.timeout.has_value()) return Clock::now();
        return Clock::time_point{std::chrono::nanoseconds{detail::coarse_now()} + detail::coarse_clock_lag};
    }
    /// Retries without a bound and without a timeout have no deadline, as the caller asked. Any other publish without a
    /// timeout ends by the operation timeout.
    static Deadline total_deadline(const PublishOptions& options, const detail::ConnectionState& connection,
                                   Clock::time_point start) {
        const bool bounded_by_policy = options.retry && options.retry_policy.timeout.has_value();
        const Deadline policy =
            bounded_by_policy ? Deadline::after(options.retry_policy.timeout, start) : Deadline::never();
        if (options.timeout.has_value()) return std::min(policy, Deadline::after(options.timeout, start));
        if (options.retry && (bounded_by_policy || !options.retry_policy.max_retries.value(false))) return policy;
        return connection.operation_deadline(start);
    }

    const Deadline deadline_;
    std::optional<Backoff> backoff_{};
};

/// A publish that has to wait for something, without its producer, body and options.
struct PendingPublish {
    detail::ConnectionRef connection;
    OutgoingMessage message;
    std::vector<Entity> declare;
    OptionalTimeout confirm_timeout;
    Attempts attempts;
    std::optional<std::chrono::milliseconds> pause{};  // before the next attempt
};

async::Operation<> send(PendingPublish pending) {
    detail::ConnectionState& connection = pending.connection.checked();
    const detail::ConnectionState::OperationGuard guard{connection};
    for (;;) {
        if (pending.pause)
            co_await connection.pause_before_retry(
                std::min(Deadline::after(*pending.pause), pending.attempts.deadline()));
        const Deadline deadline = pending.attempts.attempt_deadline(connection);
        try {
            std::shared_ptr<TransportChannel> channel = connection.ready_channel();
            if (!channel) channel = co_await connection.default_channel(deadline);
            for (const Entity& entity : pending.declare)
                if (!is_declared(connection, entity))
                    co_await declare_and_remember(connection, *channel, entity, deadline);
            co_await channel->basic_publish(pending.message, deadline, pending.confirm_timeout);
            co_return connection.count_published(pending.message.body.size());
        } catch (const OperationalError& error) {
            pending.pause = pending.attempts.pause_after(error, connection);
        }
    }
}

/// Encodes at the call, so that its errors come there and not when the operation runs.
template <class Body>
async::Operation<> start_publish(const detail::ConnectionRef& connection, const ProducerOptions& producer,
                                 const Body& body, const PublishOptions& options) {
    detail::ConnectionState& state = connection.checked();
    Attempts attempts{options, state};
    const MessageBuilder::Use builder{state.message_builder()};
    builder->build(body, {options, producer, state.config(), attempts.deadline()});
    return send({connection, builder->take(attempts.deadline()), entities_to_declare(options, producer),
                 options.confirm_timeout, std::move(attempts)});
}

bool has_declared(const detail::ConnectionState& connection, const PublishOptions& options,
                  const ProducerOptions& producer) {
    const Exchange* const exchange = exchange_to_declare(options, producer);
    return (!exchange || is_declared(connection, *exchange)) &&
           std::ranges::all_of(options.declare, [&](const Entity& entity) { return is_declared(connection, entity); });
}

/// The same on the caller's thread: the first attempt needs no operation when the channel is open and nothing is to be
/// declared.
template <class Body>
void publish_blocking(const detail::ConnectionRef& connection, const ProducerOptions& producer, const Body& body,
                      const PublishOptions& options) {
    // The producer may lose the connection meanwhile: see ConnectionState's in_use_.
    const detail::ConnectionRef held = connection;  // NOLINT(performance-unnecessary-copy-initialization)
    detail::ConnectionState& state = held.checked();
    Attempts attempts{options, state};
    const MessageBuilder::Use builder{state.message_builder()};
    const OutgoingMessage& message = builder->build(body, {options, producer, state.config(), attempts.deadline()});
    std::optional<std::chrono::milliseconds> pause;
    {
        const detail::ConnectionState::OperationGuard guard{state};
        TransportChannel* const channel = state.ready_channel().get();  // it stays during basic_publish
        if (channel && has_declared(state, options, producer)) try {
                const Deadline deadline = attempts.attempt_deadline(state);
                net::run(channel->basic_publish(message, deadline, options.confirm_timeout));
                return state.count_published(message.body.size());
            } catch (const OperationalError& error) {
                pause = attempts.pause_after(error, state);
            }
    }
    net::run(send({held,
                   {message.metadata, OutgoingBody::view(message.body)},
                   entities_to_declare(options, producer),
                   options.confirm_timeout,
                   std::move(attempts),
                   pause}));
}

}  // namespace

Producer::Producer(Connection& connection, ProducerOptions options)
    : connection_(detail::ClientAccess::state(connection)),
      options_(std::make_shared<const ProducerOptions>(std::move(options))) {}

const ProducerOptions& Producer::options() const noexcept {
    static const auto* const defaults = new ProducerOptions;  // never destroyed: static objects may publish
    return options_ ? *options_ : *defaults;
}

void Producer::revive(Connection& connection) { connection_.assign(detail::ClientAccess::state(connection)); }

void Producer::publish_json(const Json& body, const PublishOptions& options) {
    publish_blocking(connection_, this->options(), body, options);
}
void Producer::publish_text(std::string_view body, const PublishOptions& options) {
    publish_blocking(connection_, this->options(), body, options);
}
void Producer::publish_bytes(std::span<const std::byte> body, const PublishOptions& options) {
    publish_blocking(connection_, this->options(), body, options);
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
