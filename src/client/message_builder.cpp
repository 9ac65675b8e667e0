// SPDX-License-Identifier: BSD-3-Clause
#include "client/message_builder.hpp"

#include <kombu/compression.hpp>
#include <kombu/error.hpp>

#include "client/declare.hpp"
#include "messages/same_value.hpp"
#include "support/pieces.hpp"
#include "support/validation.hpp"

#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace kombu {
namespace {

void check_optional_name(const std::optional<std::string>& text, const char* field) {
    if (text) check_name(*text, field);
}

int delivery_mode_of(const PublishOptions& options, const Exchange& exchange) {
    const auto mode = options.delivery_mode ? options.delivery_mode : exchange.options().delivery_mode;
    return mode.value_or(DeliveryMode::persistent).value();
}

std::optional<std::uint64_t> seconds_of(const std::optional<Timestamp>& timestamp) {
    return timestamp ? std::optional{timestamp->seconds()} : std::nullopt;
}

/// All but the content type, the content encoding and what compression adds.
void set_properties(Properties& properties, const PublishOptions& options, const Exchange& exchange) {
    if (!options.headers.is_object() && !options.headers.is_null())
        throw ConfigurationError("headers: must be a JSON object");
    if (options.priority < 0 || options.priority > 255)
        throw ConfigurationError("priority: must be from 0 to 255, not " + std::to_string(options.priority));
    check_optional_name(options.content_type, "content_type");
    check_optional_name(options.content_encoding, "content_encoding");
    check_optional_name(options.correlation_id, "correlation_id");
    check_optional_name(options.reply_to, "reply_to");
    check_optional_name(options.message_id, "message_id");
    check_optional_name(options.type, "type");
    check_optional_name(options.user_id, "user_id");
    check_optional_name(options.app_id, "app_id");

    if (options.headers.is_object()) properties.headers = options.headers;
    properties.delivery_mode = delivery_mode_of(options, exchange);
    properties.priority = options.priority;
    properties.correlation_id = options.correlation_id;
    properties.reply_to = options.reply_to;
    if (options.expiration) properties.expiration = std::to_string(to_milliseconds(*options.expiration, "expiration"));
    properties.message_id = options.message_id;
    properties.timestamp = seconds_of(options.timestamp);
    properties.type = options.type;
    properties.user_id = options.user_id;
    properties.app_id = options.app_id;
}

std::string_view value_or(const std::optional<std::string>& text, std::string_view otherwise) {
    return text ? std::string_view{*text} : otherwise;
}

constexpr const char* compression_header = "compression";

/// Whether the headers `sent` are those that the options ask for, and the one of the compression if there is one.
bool has_headers(const Json& sent, const Json& asked, bool is_compressed) {
    if (!is_compressed) return asked.is_null() ? sent.empty() : same_value(sent, asked);
    if (asked.is_null()) return sent.size() == 1;
    if (!asked.is_object() || asked.contains(compression_header)) return false;  // the options are checked
    for (const auto& [name, value] : asked.get_ref<const Json::object_t&>())
        if (const auto found = sent.find(name); found == sent.end() || !same_value(*found, value)) return false;
    return sent.size() == asked.size() + 1;
}

bool equals(const std::optional<std::string>& text, std::string_view value) {
    return text && text->size() == value.size() && std::memcmp(text->data(), value.data(), value.size()) == 0;
}

}  // namespace

const OutgoingMessage& MessageBuilder::build(const Json& body, const Request& request) {
    const PublishOptions& options = request.options;
    if (!options.content_type) {
        const auto& chosen = options.serializer ? options.serializer : request.producer.serializer;
        std::shared_ptr<const Serializer> holder;
        const std::string_view name = value_or(chosen, body.is_binary() ? "bytes" : "json");
        const Serializer& serializer = serializers_.find(name, holder);
        return build_encoded(encode_with(body, serializer, encoded_, request.deadline), request);
    }
    if (body.is_string()) return build(std::string_view{body.get_ref<const std::string&>()}, request);
    if (!body.is_binary()) throw ConfigurationError("content_type: a body that is sent as it is must be text or bytes");
    const auto& bytes = body.get_binary();
    return build(std::as_bytes(std::span{bytes.data(), bytes.size()}), request);
}

const OutgoingMessage& MessageBuilder::build(std::string_view body, const Request& request) {
    const PublishOptions& options = request.options;
    if (options.content_type)
        return build_encoded({*options.content_type, value_or(options.content_encoding, "utf-8"), body}, request);
    const auto& chosen = options.serializer ? options.serializer : request.producer.serializer;
    std::shared_ptr<const Serializer> holder;
    const Serializer& serializer = serializers_.find(value_or(chosen, "text"), holder);
    return build_encoded(encode_with(body, serializer, encoded_, request.deadline), request);
}

const OutgoingMessage& MessageBuilder::build(std::span<const std::byte> body, const Request& request) {
    const PublishOptions& options = request.options;
    const std::string_view bytes{reinterpret_cast<const char*>(body.data()), body.size()};
    if (options.content_type)
        return build_encoded({*options.content_type, value_or(options.content_encoding, "binary"), bytes}, request);
    if (options.serializer && *options.serializer != "bytes" && *options.serializer != "raw")
        throw EncodeError("bytes cannot be serialised as " + options.serializer->substr(0, 100));
    return build_encoded({"application/data", "binary", bytes}, request);
}

const OutgoingMessage& MessageBuilder::build_encoded(const SerializedBody& body, const Request& request) {
    const PublishOptions& options = request.options;
    if (options.mandatory && !request.config.parameters.confirm_publish())
        throw ConfigurationError("mandatory: needs publisher confirms, but confirm_publish is false");
    const std::string_view method =
        value_or(options.compression ? options.compression : request.producer.compression, {});
    set_metadata(options, request.producer, body, method, *request.config.transport);
    if (!method.empty()) compressed_ = compress(body.data, method, request.deadline);
    message_.body.refer_to(method.empty() ? body.data : std::string_view{compressed_});
    return message_;
}

OutgoingMessage MessageBuilder::take(Deadline deadline) {
    const std::string_view body = message_.body;
    std::string own;
    if (body.data() == encoded_.data())
        own = std::move(encoded_);
    else if (body.data() == compressed_.data())
        own = std::move(compressed_);
    else
        append_in_pieces(own, body, deadline);
    return {message_.metadata, std::move(own)};
}

void MessageBuilder::drop_large_buffers() noexcept {
    constexpr std::size_t largest_kept = std::size_t{1} << 20;
    for (std::string* const buffer : {&encoded_, &compressed_})
        if (buffer->capacity() > largest_kept) std::string{}.swap(*buffer);
}

void MessageBuilder::set_metadata(const PublishOptions& options, const ProducerOptions& producer,
                                  const SerializedBody& body, std::string_view compression,
                                  const Transport& transport) {
    const Exchange& exchange = options.exchange ? *options.exchange : producer.exchange;
    const std::string& routing_key = options.routing_key ? *options.routing_key : producer.routing_key;
    const auto is_same_as = [&](const MessageMetadata& last) {
        const Properties& properties = last.properties;
        return exchange == *exchange_ && last.routing_key == routing_key && last.mandatory == options.mandatory &&
               properties.message_id == options.message_id && properties.correlation_id == options.correlation_id &&
               properties.timestamp == seconds_of(options.timestamp) && properties.priority == options.priority &&
               properties.delivery_mode == delivery_mode_of(options, exchange) &&
               properties.reply_to == options.reply_to && properties.type == options.type &&
               properties.user_id == options.user_id && properties.app_id == options.app_id &&
               equals(properties.content_type, body.content_type) &&
               (options.content_type || !options.content_encoding) &&  // one that is not used is checked too
               equals(properties.content_encoding, body.content_encoding) && expiration_ == options.expiration &&
               (compression.empty() ? compression_.empty() : compression_ == compression) &&
               has_headers(properties.headers, options.headers, !compression.empty());
    };
    if (message_.metadata && is_same_as(*message_.metadata)) return;
    check_name(routing_key, "routing_key");
    if (options.headers.is_object()) transport.check_headers(options.headers);
    auto metadata = std::make_shared<MessageMetadata>();
    metadata->exchange = exchange.name();
    metadata->exchange_type = exchange.type();
    metadata->routing_key = routing_key;
    metadata->mandatory = options.mandatory;
    set_properties(metadata->properties, options, exchange);
    metadata->properties.content_type = body.content_type;
    metadata->properties.content_encoding = body.content_encoding;
    if (!compression.empty()) metadata->properties.headers[compression_header] = compression_type(compression);
    message_.metadata = nullptr;  // until all is set: a copy may throw
    exchange_ = exchange;
    compression_ = compression;
    expiration_ = options.expiration;
    message_.metadata = std::move(metadata);
}

const Exchange* exchange_to_declare(const PublishOptions& options, const ProducerOptions& producer) {
    const bool declares = producer.auto_declare && !options.exchange && !producer.exchange.name().empty();
    return declares ? &producer.exchange : nullptr;
}

std::vector<Entity> entities_to_declare(const PublishOptions& options, const ProducerOptions& producer) {
    std::vector<Entity> entities;
    if (const Exchange* const exchange = exchange_to_declare(options, producer)) entities.emplace_back(*exchange);
    entities.insert(entities.end(), options.declare.begin(), options.declare.end());
    return entities;
}

bool is_declared(const detail::ConnectionState& connection, const Entity& entity) {
    return std::visit(
        [&](const auto& e) { return e.can_cache_declaration() && connection.is_declared(e.fingerprint()); }, entity);
}

async::Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel,
                                        const Entity& entity, Deadline deadline) {
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
