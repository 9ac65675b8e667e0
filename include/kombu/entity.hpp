// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/json.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kombu {

/// Whether a broker keeps a message over its own restart: transient (1) or persistent (2).
/// Also spelled as a number or as text; anything else throws ConfigurationError.
class KOMBU_EXPORT DeliveryMode {
public:
    static const DeliveryMode transient;
    static const DeliveryMode persistent;

    DeliveryMode(int mode);
    DeliveryMode(std::string_view name);
    DeliveryMode(const char* name) : DeliveryMode(std::string_view{name}) {}

    int value() const noexcept { return value_; }
    friend bool operator==(DeliveryMode, DeliveryMode) = default;

private:
    struct Known {};
    constexpr DeliveryMode(Known, int value) noexcept : value_(value) {}
    int value_;
};
inline constexpr DeliveryMode DeliveryMode::transient{Known{}, 1};
inline constexpr DeliveryMode DeliveryMode::persistent{Known{}, 2};

struct ExchangeOptions {
    /// Survives a restart of the broker.
    bool durable = true;
    /// Deleted when the last queue is unbound from it.
    bool auto_delete = false;
    /// Only check that it exists.
    bool passive = false;
    /// For messages that do not say. Not set: persistent.
    std::optional<DeliveryMode> delivery_mode{};
    /// Broker-specific arguments, a JSON object.
    Json arguments = Json::object();
    /// Never declare it.
    bool no_declare = false;
};

/// Where messages are published to: a name, a type (direct, topic, fanout, headers) and how to declare it. An immutable
/// value that is cheap to copy and bound to no connection. The empty name is the default exchange, which routes to the
/// queue named by the routing key and is never declared; names that begin with `amq.` are not declared either.
class KOMBU_EXPORT Exchange {
public:
    /// The default exchange.
    Exchange();
    Exchange(std::string name, std::string type = "direct", ExchangeOptions options = {});
    Exchange(const char* name) : Exchange(std::string{name}) {}
    // Moving copies: there is no empty state to be met by who comes later.
    Exchange(const Exchange&) = default;
    Exchange& operator=(const Exchange&) = default;
    ~Exchange() = default;

    const std::string& name() const noexcept;
    const std::string& type() const noexcept;
    bool durable() const noexcept { return options().durable; }
    bool auto_delete() const noexcept { return options().auto_delete; }
    const ExchangeOptions& options() const noexcept;

    /// Whether one declaration per connection is enough: not for an exchange that may vanish by itself.
    bool can_cache_declaration() const noexcept { return !options().auto_delete; }
    /// Says everything that a declaration depends on; equal for equal entities.
    const std::string& fingerprint() const noexcept;
    friend bool operator==(const Exchange& a, const Exchange& b) noexcept { return a.fingerprint() == b.fingerprint(); }

private:
    struct Data;
    std::shared_ptr<const Data> data_;
};

/// One more way into a queue.
struct Binding {
    Exchange exchange{};
    std::string routing_key{};
    Json arguments = Json::object();
};

struct QueueOptions {
    bool durable = true;
    /// Only for the connection that declared it, and deleted with it; implies auto_delete.
    bool exclusive = false;
    bool auto_delete = false;
    /// Messages from this queue need no acknowledgement.
    bool no_ack = false;
    /// Broker-specific arguments, JSON objects.
    Json queue_arguments = Json::object();
    Json binding_arguments = Json::object();
    /// Deleted after so long without use (x-expires).
    std::optional<std::chrono::duration<double>> expires{};
    /// How long messages live in the queue (x-message-ttl).
    std::optional<std::chrono::duration<double>> message_ttl{};
    std::optional<std::uint32_t> max_length{};
    std::optional<std::uint64_t> max_length_bytes{};
    std::optional<std::uint8_t> max_priority{};
    /// Further bindings, declared with the queue.
    std::vector<Binding> bindings{};
    /// Only check that it exists.
    bool passive = false;
    bool no_declare = false;
};

/// Where messages wait: a name, the exchange and routing key it is bound with, and how to declare it. An immutable
/// value that is cheap to copy and bound to no connection.
///
/// Declaring a queue declares its exchange, the queue itself, and the binding between them, in that order. Throws
/// ConfigurationError when an option is out of range or an argument map is not a JSON object.
class KOMBU_EXPORT Queue {
public:
    Queue(std::string name, Exchange exchange, std::string routing_key = {}, QueueOptions options = {});
    /// On the default exchange, which reaches it by its name.
    explicit Queue(std::string name) : Queue(std::move(name), Exchange{}) {}
    Queue(const Queue&) = default;
    Queue& operator=(const Queue&) = default;
    ~Queue() = default;

    const std::string& name() const noexcept;
    const Exchange& exchange() const noexcept;
    const std::string& routing_key() const noexcept;
    bool durable() const noexcept { return options().durable; }
    bool exclusive() const noexcept { return options().exclusive; }
    bool auto_delete() const noexcept { return options().auto_delete; }
    const QueueOptions& options() const noexcept;

    /// What goes over the wire as the queue's arguments: queue_arguments, with x-expires, x-message-ttl, x-max-length,
    /// x-max-length-bytes and x-max-priority from the options of those names.
    const Json& declare_arguments() const noexcept;
    bool can_cache_declaration() const noexcept;
    const std::string& fingerprint() const noexcept;
    friend bool operator==(const Queue& a, const Queue& b) noexcept { return a.fingerprint() == b.fingerprint(); }

private:
    struct Data;
    std::shared_ptr<const Data> data_;
};

/// What can be declared.
using Entity = std::variant<Exchange, Queue>;

}  // namespace kombu
