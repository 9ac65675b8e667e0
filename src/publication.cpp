#include "publication.hpp"

#include <kombu/compression.hpp>
#include <kombu/error.hpp>

#include "checks.hpp"
#include "declare.hpp"

#include <string>
#include <utility>
#include <variant>

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

}  // namespace

EncodedBody encode(const Json& body, const PublishOptions& options, const ProducerOptions& producer) {
    if (options.content_type) {
        if (body.is_string()) return encode(std::string_view{body.get_ref<const std::string&>()}, options, producer);
        if (body.is_binary()) {
            const auto& bytes = body.get_binary();
            return encode(std::as_bytes(std::span{bytes.data(), bytes.size()}), options, producer);
        }
        throw ConfigurationError("content_type: a body that is sent as it is must be text or bytes");
    }
    const auto& chosen = options.serializer ? options.serializer : producer.serializer;
    return encode_body(body, chosen             ? std::string_view{*chosen}
                             : body.is_binary() ? std::string_view{"bytes"}
                                                : std::string_view{"json"});
}

EncodedBody encode(std::string_view body, const PublishOptions& options, const ProducerOptions& producer) {
    if (options.content_type)
        return {*options.content_type, options.content_encoding.value_or("utf-8"), std::string{body}};
    const auto& chosen = options.serializer ? options.serializer : producer.serializer;
    return encode_body(Json(std::string{body}), chosen ? std::string_view{*chosen} : "text");
}

EncodedBody encode(std::span<const std::byte> body, const PublishOptions& options, const ProducerOptions&) {
    std::string text{reinterpret_cast<const char*>(body.data()), body.size()};
    if (options.content_type)
        return {*options.content_type, options.content_encoding.value_or("binary"), std::move(text)};
    if (options.serializer && *options.serializer != "bytes" && *options.serializer != "raw")
        throw EncodeError("bytes cannot be serialised as " + options.serializer->substr(0, 100));
    return {"application/data", "binary", std::move(text)};
}

Publication make_publication(EncodedBody body, const PublishOptions& options, const ProducerOptions& producer,
                             const detail::ConnectionState& connection) {
    const Exchange& exchange = options.exchange ? *options.exchange : producer.exchange;
    if (options.mandatory && !connection.description().parameters.confirm_publish())
        throw ConfigurationError("mandatory: needs publisher confirms, but confirm_publish is false");

    Publication publication;
    OutgoingMessage& message = publication.message;
    message.exchange = exchange.name();
    message.exchange_type = exchange.type();
    message.routing_key = options.routing_key ? *options.routing_key : producer.routing_key;
    check_name(message.routing_key, "routing_key");
    message.mandatory = options.mandatory;
    message.properties = properties_of(options, exchange);
    message.properties.content_type = std::move(body.content_type);
    message.properties.content_encoding = std::move(body.content_encoding);
    message.body = std::move(body.data);
    const auto& compression = options.compression ? options.compression : producer.compression;
    if (compression && !compression->empty()) {
        message.body = compress(message.body, *compression);
        message.properties.headers["compression"] = compression_type(*compression);
    }
    if (producer.auto_declare && &exchange == &producer.exchange) publication.declare.emplace_back(producer.exchange);
    publication.declare.insert(publication.declare.end(), options.declare.begin(), options.declare.end());
    if (options.retry) publication.retry_policy = options.retry_policy;
    return publication;
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

}  // namespace kombu
