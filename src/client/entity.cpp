// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/entity.hpp>
#include <kombu/error.hpp>

#include "messages/forbidden_value.hpp"
#include "support/validation.hpp"

#include <utility>

namespace kombu {
namespace {

int checked_delivery_mode(int mode) {
    if (mode == 1 || mode == 2) return mode;
    throw ConfigurationError("delivery_mode: 1 (transient) or 2 (persistent), not " + std::to_string(mode));
}

int checked_delivery_mode(std::string_view name) {
    if (name == "transient") return 1;
    if (name == "persistent") return 2;
    throw ConfigurationError("delivery_mode: transient or persistent, not " + std::string{name.substr(0, 100)});
}

const char* name_of(QueueType type) noexcept {
    switch (type) {
        case QueueType::classic: return "classic";
        case QueueType::quorum: return "quorum";
        case QueueType::stream: break;
    }
    return "stream";
}

const char* name_of(Overflow overflow) noexcept {
    switch (overflow) {
        case Overflow::drop_head: return "drop-head";
        case Overflow::reject_publish: return "reject-publish";
        case Overflow::reject_publish_dlx: break;
    }
    return "reject-publish-dlx";
}

Json arguments_of(const QueueOptions& options) {
    Json arguments = options.queue_arguments;
    if (options.expires) arguments["x-expires"] = to_milliseconds(*options.expires, "expires");
    if (options.message_ttl) arguments["x-message-ttl"] = to_milliseconds(*options.message_ttl, "message_ttl");
    if (options.max_length) arguments["x-max-length"] = *options.max_length;
    if (options.max_length_bytes) arguments["x-max-length-bytes"] = *options.max_length_bytes;
    if (options.max_priority) arguments["x-max-priority"] = *options.max_priority;
    if (options.type) arguments["x-queue-type"] = name_of(*options.type);
    if (options.single_active_consumer) arguments["x-single-active-consumer"] = true;
    if (options.delivery_limit) arguments["x-delivery-limit"] = *options.delivery_limit;
    if (options.overflow) arguments["x-overflow"] = name_of(*options.overflow);
    if (options.dead_letter_exchange) arguments["x-dead-letter-exchange"] = *options.dead_letter_exchange;
    if (options.dead_letter_routing_key) arguments["x-dead-letter-routing-key"] = *options.dead_letter_routing_key;
    return arguments;
}

/// CBOR tells every two values apart.
std::string fingerprint_of(const Json& fields) {
    std::string text;
    Json::to_cbor(fields, text);
    return text;
}

}  // namespace

DeliveryMode::DeliveryMode(int mode) : value_(checked_delivery_mode(mode)) {}
DeliveryMode::DeliveryMode(std::string_view name) : value_(checked_delivery_mode(name)) {}

struct Exchange::Data {
    std::string name, type;
    ExchangeOptions options;
    std::string fingerprint;
};

Exchange::Exchange(std::string name, std::string type, ExchangeOptions options) {
    check_name(name, "exchange name");
    check_name(type, "exchange type");
    check_arguments(options.arguments, "exchange arguments");
    const Json fingerprint_fields = {"exchange",
                                     name,
                                     type,
                                     options.durable,
                                     options.auto_delete,
                                     options.passive,
                                     options.no_declare,
                                     options.arguments,
                                     options.delivery_mode ? options.delivery_mode->value() : 0};
    data_ = std::make_shared<const Data>(
        Data{std::move(name), std::move(type), std::move(options), fingerprint_of(fingerprint_fields)});
}

Exchange::Exchange()
    : Exchange([]() -> const Exchange& {
          // Shared, since every default-constructed Producer copies it. Never destroyed, since other static objects
          // may outlive it.
          static const auto* const default_exchange = new Exchange{std::string{}};
          return *default_exchange;
      }()) {}

const std::string& Exchange::name() const noexcept { return data_->name; }
const std::string& Exchange::type() const noexcept { return data_->type; }
const ExchangeOptions& Exchange::options() const noexcept { return data_->options; }
const std::string& Exchange::fingerprint() const noexcept { return data_->fingerprint; }

struct Queue::Data {
    std::string name;
    Exchange exchange;
    std::string routing_key;
    QueueOptions options;
    Json arguments;
    std::string fingerprint;
};

Queue::Queue(std::string name, Exchange exchange, std::string routing_key, QueueOptions options) {
    check_name(name, "queue name");
    check_name(routing_key, "routing_key");
    check_arguments(options.queue_arguments, "queue_arguments");
    check_arguments(options.binding_arguments, "binding_arguments");
    if (options.exclusive) options.auto_delete = true;

    if (options.dead_letter_exchange) check_name(*options.dead_letter_exchange, "dead_letter_exchange");
    if (options.dead_letter_routing_key) check_name(*options.dead_letter_routing_key, "dead_letter_routing_key");
    if (options.dead_letter_routing_key && !options.dead_letter_exchange)
        throw ConfigurationError("dead_letter_routing_key: there is no dead_letter_exchange");

    Json arguments = arguments_of(options);
    Json fingerprint_fields = {"queue",
                               name,
                               exchange.fingerprint(),
                               routing_key,
                               options.durable,
                               options.exclusive,
                               options.auto_delete,
                               options.passive,
                               options.no_declare,
                               arguments,
                               options.binding_arguments};
    for (const Binding& binding : options.bindings) {
        check_name(binding.routing_key, "binding routing_key");
        check_arguments(binding.arguments, "binding arguments");
        fingerprint_fields.push_back({binding.exchange.fingerprint(), binding.routing_key, binding.arguments});
    }
    data_ = std::make_shared<const Data>(Data{std::move(name), std::move(exchange), std::move(routing_key),
                                              std::move(options), std::move(arguments),
                                              fingerprint_of(fingerprint_fields)});
}

const std::string& Queue::name() const noexcept { return data_->name; }
const Exchange& Queue::exchange() const noexcept { return data_->exchange; }
const std::string& Queue::routing_key() const noexcept { return data_->routing_key; }
const QueueOptions& Queue::options() const noexcept { return data_->options; }
const Json& Queue::declare_arguments() const noexcept { return data_->arguments; }
const std::string& Queue::fingerprint() const noexcept { return data_->fingerprint; }

bool Queue::can_cache_declaration() const noexcept {
    return !data_->options.auto_delete && !data_->arguments.contains("x-expires") && !data_->name.empty();
}

}  // namespace kombu
