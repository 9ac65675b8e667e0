#include <kombu/batch.hpp>
#include <kombu/error.hpp>
#include <kombu/producer.hpp>
#include <kombu/serialization.hpp>
#include <kombu/transport.hpp>

#include "transport/backoff.hpp"
#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"
#include "client/prepared_message.hpp"

#include <optional>
#include <utility>

namespace kombu {
namespace {

/// A retry without bounds is what the caller asked for; everything else ends by the operation timeout.
Deadline total_deadline(const PublishOptions& options, const detail::ConnectionState& connection) {
    const bool bounded_by_policy = options.retry && options.retry_policy.timeout.has_value();
    const Deadline policy = bounded_by_policy ? Deadline::after(options.retry_policy.timeout) : Deadline::never();
    if (options.timeout.has_value()) return std::min(policy, Deadline::after(options.timeout));
    if (options.retry && (bounded_by_policy || !options.retry_policy.max_retries)) return policy;
    return connection.deadline({});
}

}  // namespace

/// What is sent, and how.
struct Producer::Sending {
    detail::ConnectionRef connection;
    Publication publication;
    OptionalTimeout confirm_timeout{};
    Deadline deadline = Deadline::never();
};

Producer::Producer(Connection& connection, ProducerOptions options)
    : connection_(connection.state()), options_(std::move(options)) {}

void Producer::revive(Connection& connection) { connection_ = detail::ConnectionRef{connection.state()}; }

void Producer::publish_json(const Json& body, const PublishOptions& options) {
    net::run(publishing_json(body, options));
}
void Producer::publish_text(std::string_view body, const PublishOptions& options) {
    net::run(publishing_text(body, options));
}
void Producer::publish_bytes(std::span<const std::byte> body, const PublishOptions& options) {
    net::run(publishing_bytes(body, options));
}

Operation<> Producer::publishing_json(const Json& body, const PublishOptions& options) {
    return publishing(encode(body, options, options_), options);
}
Operation<> Producer::publishing_text(std::string_view body, const PublishOptions& options) {
    return publishing(encode(body, options, options_), options);
}
Operation<> Producer::publishing_bytes(std::span<const std::byte> body, const PublishOptions& options) {
    return publishing(encode(body, options, options_), options);
}

Batch Producer::batch() const { return Batch{connection_, options_}; }

bool Producer::maybe_declare(const Entity& entity, OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.use();
    const detail::ConnectionState::Use use{connection};
    const Deadline deadline = connection.deadline(timeout);
    // Asked first: a new session knows nothing, and what was refused on the old channel may be what is thought to be
    // known.
    const auto channel = net::run(connection.default_channel(deadline));
    if (is_declared(connection, entity)) return false;
    net::run(declare_and_remember(connection, *channel, entity, deadline));
    return true;
}

Operation<> Producer::publishing(Encoded body, const PublishOptions& options) const {
    detail::ConnectionState& connection = connection_.use();
    Publication publication = make_publication(std::move(body), options, options_, connection);
    return send({connection_, std::move(publication), options.confirm_timeout, total_deadline(options, connection)});
}

Operation<> Producer::send(Sending sending) {
    const Publication& publication = sending.publication;
    detail::ConnectionState& connection = sending.connection.use();
    const detail::ConnectionState::Use use{connection};
    const Deadline deadline = sending.deadline;
    const bool retries = publication.retry_policy.has_value();
    Backoff backoff{retries ? *publication.retry_policy : RetryPolicy{}, deadline};
    for (;;) {
        // Each of several attempts ends by itself, also when the caller wants to try for ever.
        const Deadline by = retries ? std::min(deadline, connection.deadline({})) : deadline;
        std::optional<std::chrono::milliseconds> pause;
        try {
            std::shared_ptr<TransportChannel> channel = connection.ready_channel();
            if (!channel) channel = co_await connection.default_channel(by);
            for (const Entity& entity : publication.declare)
                if (!is_declared(connection, entity)) co_await declare_and_remember(connection, *channel, entity, by);
            co_await channel->basic_publish(publication.message, by, sending.confirm_timeout);
            co_return;
        } catch (const OperationalError& error) {
            if (dynamic_cast<const ChannelError*>(&error)) connection.forget_declarations();
            pause = retries && error.is_retryable() ? backoff.next() : std::nullopt;
            if (!pause) throw;
        }
        for (const Deadline again = std::min(Deadline::after(*pause), deadline); !again.expired();)
            co_await Wait{.until = again};
    }
}

}  // namespace kombu
