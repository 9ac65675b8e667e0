#include <kombu/compression.hpp>
#include <kombu/error.hpp>
#include <kombu/producer.hpp>
#include <kombu/serialization.hpp>
#include <kombu/transport.hpp>

#include "backoff.hpp"
#include "checks.hpp"
#include "connection_state.hpp"
#include "declare.hpp"
#include "net/blocking_driver.hpp"

#include <optional>
#include <utility>

namespace kombu {
namespace {

void check_short(const std::optional<std::string>& text, const char* field) {
    if (text) check_name(*text, field);
}

Properties properties_of(const PublishOptions& options, const Exchange& exchange) {
    if (!options.headers.is_object() && !options.headers.is_null())
        throw ConfigurationError("headers: must be a JSON object");
    if (options.priority < 0 || options.priority > 255)
        throw ConfigurationError("priority: must be from 0 to 255, not " + std::to_string(options.priority));
    check_short(options.content_type, "content_type");
    check_short(options.content_encoding, "content_encoding");
    check_short(options.correlation_id, "correlation_id");
    check_short(options.reply_to, "reply_to");
    check_short(options.message_id, "message_id");
    check_short(options.type, "type");
    check_short(options.user_id, "user_id");
    check_short(options.app_id, "app_id");

    Properties properties;
    if (options.headers.is_object()) properties.headers = options.headers;
    const auto mode = options.delivery_mode ? options.delivery_mode : exchange.options().delivery_mode;
    properties.delivery_mode = mode.value_or(DeliveryMode::persistent).value();
    properties.priority = options.priority;
    properties.correlation_id = options.correlation_id;
    properties.reply_to = options.reply_to;
    if (options.expiration) properties.expiration = std::to_string(milliseconds(*options.expiration, "expiration"));
    properties.message_id = options.message_id;
    if (options.timestamp) properties.timestamp = options.timestamp->seconds();
    properties.type = options.type;
    properties.user_id = options.user_id;
    properties.app_id = options.app_id;
    return properties;
}

/// A retry without bounds is what the caller asked for; everything else ends by the operation timeout.
Deadline total_deadline(const PublishOptions& options, const detail::ConnectionState& connection) {
    const bool bounded_by_policy = options.retry && options.retry_policy.timeout.has_value();
    const Deadline policy = bounded_by_policy ? Deadline::after(options.retry_policy.timeout) : Deadline::never();
    if (options.timeout.has_value()) return std::min(policy, Deadline::after(options.timeout));
    if (options.retry && (bounded_by_policy || !options.retry_policy.max_retries)) return policy;
    return connection.deadline({});
}

bool is_declared(const detail::ConnectionState& connection, const Entity& entity) {
    return std::visit([&](const auto& e) { return e.can_cache_declaration() && connection.declared(e.fingerprint()); },
                      entity);
}

Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel, const Entity& entity,
                                 Deadline deadline) {
    try {
        co_await declare(channel, entity, deadline);
    } catch (const ChannelError&) {
        connection.forget_declarations();
        throw;
    }
    std::visit(
        [&](const auto& e) {
            if (e.can_cache_declaration()) connection.remember_declaration(e.fingerprint());
        },
        entity);
}

}  // namespace

/// A message that is ready to be sent, and how to send it.
struct Producer::Publication {
    explicit Publication(detail::ConnectionRef of) : connection(std::move(of)) {}
    detail::ConnectionRef connection;
    OutgoingMessage message{};
    std::vector<Entity> declare{};
    std::optional<RetryPolicy> retry_policy{};  // only when it is to be retried
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
    if (options.content_type) {
        if (body.is_string()) return publishing_text(body.get_ref<const std::string&>(), options);
        if (body.is_binary()) {
            const auto& bytes = body.get_binary();
            return publishing_bytes(std::as_bytes(std::span{bytes.data(), bytes.size()}), options);
        }
        throw ConfigurationError("content_type: a body that is sent as it is must be text or bytes");
    }
    const auto& chosen = options.serializer ? options.serializer : options_.serializer;
    const std::string_view serializer = chosen             ? std::string_view{*chosen}
                                        : body.is_binary() ? std::string_view{"bytes"}
                                                           : std::string_view{"json"};
    return publishing(encode_body(body, serializer), options);
}

Operation<> Producer::publishing_text(std::string_view body, const PublishOptions& options) {
    if (options.content_type)
        return publishing({*options.content_type, options.content_encoding.value_or("utf-8"), std::string{body}},
                          options);
    const auto& chosen = options.serializer ? options.serializer : options_.serializer;
    return publishing(encode_body(Json(std::string{body}), chosen ? std::string_view{*chosen} : "text"), options);
}

Operation<> Producer::publishing_bytes(std::span<const std::byte> body, const PublishOptions& options) {
    const std::string_view text{reinterpret_cast<const char*>(body.data()), body.size()};
    if (options.content_type)
        return publishing({*options.content_type, options.content_encoding.value_or("binary"), std::string{text}},
                          options);
    if (options.serializer && *options.serializer != "bytes" && *options.serializer != "raw")
        throw EncodeError("bytes cannot be serialised as " + options.serializer->substr(0, 100));
    return publishing({"application/data", "binary", std::string{text}}, options);
}

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

Operation<> Producer::publishing(EncodedBody body, const PublishOptions& options) const {
    detail::ConnectionState& connection = connection_.use();
    const Exchange& exchange = options.exchange ? *options.exchange : options_.exchange;
    if (options.mandatory && !connection.description().parameters.confirm_publish())
        throw ConfigurationError("mandatory: needs publisher confirms, but confirm_publish is false");

    auto publication = std::make_unique<Publication>(connection_);
    OutgoingMessage& message = publication->message;
    message.exchange = exchange.name();
    message.exchange_type = exchange.type();
    message.routing_key = options.routing_key ? *options.routing_key : options_.routing_key;
    check_name(message.routing_key, "routing_key");
    message.mandatory = options.mandatory;
    message.properties = properties_of(options, exchange);
    message.properties.content_type = std::move(body.content_type);
    message.properties.content_encoding = std::move(body.content_encoding);
    message.body = std::move(body.data);
    const auto& compression = options.compression ? options.compression : options_.compression;
    if (compression && !compression->empty()) {
        message.body = compress(message.body, *compression);
        message.properties.headers["compression"] = compression_type(*compression);
    }
    if (options_.auto_declare && &exchange == &options_.exchange) publication->declare.emplace_back(options_.exchange);
    publication->declare.insert(publication->declare.end(), options.declare.begin(), options.declare.end());
    publication->confirm_timeout = options.confirm_timeout;
    if (options.retry) publication->retry_policy = options.retry_policy;
    publication->deadline = total_deadline(options, connection);
    return send(std::move(publication));
}

Operation<> Producer::send(std::unique_ptr<const Publication> publication) {
    detail::ConnectionState& connection = publication->connection.use();
    const detail::ConnectionState::Use use{connection};
    const Deadline deadline = publication->deadline;
    const bool retries = publication->retry_policy.has_value();
    Backoff backoff{retries ? *publication->retry_policy : RetryPolicy{}, deadline};
    for (;;) {
        // Each of several attempts ends by itself, also when the caller wants to try for ever.
        const Deadline by = retries ? std::min(deadline, connection.deadline({})) : deadline;
        std::optional<std::chrono::milliseconds> pause;
        try {
            std::shared_ptr<TransportChannel> channel = connection.ready_channel();
            if (!channel) channel = co_await connection.default_channel(by);
            for (const Entity& entity : publication->declare)
                if (!is_declared(connection, entity)) co_await declare_and_remember(connection, *channel, entity, by);
            co_await channel->basic_publish(publication->message, by, publication->confirm_timeout);
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
