// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/json.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kombu {

/// Whether a message survives a restart of the broker: transient (1) does not, persistent (2) does. Converts from a
/// number or text; any other value throws ConfigurationError.
class KOMBU_EXPORT DeliveryMode {
public:
    /// The message may be lost when the broker restarts.
    static const DeliveryMode transient;
    /// The message is stored.
    static const DeliveryMode persistent;

    /// 1 (transient) or 2 (persistent).
    /// \throws ConfigurationError  for another number
    DeliveryMode(int mode);
    /// "transient" or "persistent".
    /// \throws ConfigurationError  for another name
    DeliveryMode(std::string_view name);
    /// As that of a string_view.
    DeliveryMode(const char* name) : DeliveryMode(std::string_view{name}) {}

    /// 1 or 2, as in AMQP.
    int value() const noexcept { return value_; }
    friend bool operator==(DeliveryMode, DeliveryMode) = default;

private:
    struct Unchecked {};
    constexpr DeliveryMode(Unchecked, int value) noexcept : value_(value) {}
    int value_;
};
inline constexpr DeliveryMode DeliveryMode::transient{Unchecked{}, 1};
inline constexpr DeliveryMode DeliveryMode::persistent{Unchecked{}, 2};

/// How to declare an exchange. Everything has a default.
struct ExchangeOptions {
    /// Survives a restart of the broker.
    bool durable = true;
    /// Deleted when the last queue is unbound from it.
    bool auto_delete = false;
    /// Only check that it exists.
    bool passive = false;
    /// The delivery mode of messages that have none of their own. Not set: persistent.
    std::optional<DeliveryMode> delivery_mode{};
    /// Broker-specific arguments, a JSON object.
    Json arguments = Json::object();
    /// Never declare the exchange.
    bool no_declare = false;
};

/// A destination of messages: a name, a type (direct, topic, fanout, headers) and how to declare it. An immutable
/// value that is cheap to copy and bound to no connection.
///
/// The empty name is the default exchange, which routes to the queue that the routing key names. It is never
/// declared, nor are exchanges whose names begin with `amq.`.
///
/// \par Thread safety
/// As for any value: several threads may read one object.
/// \par Kombu
/// `kombu.Exchange`
class KOMBU_EXPORT Exchange {
public:
    /// The default exchange.
    Exchange();
    /// An exchange.
    /// \throws ConfigurationError  when the arguments are not a JSON object, or a name is longer than 255 bytes
    Exchange(std::string name, std::string type = "direct", ExchangeOptions options = {});
    /// A direct exchange with default options.
    Exchange(const char* name) : Exchange(std::string{name}) {}
    /// A direct exchange: `Exchange{"news", {.durable = false}}`.
    template <class Options = ExchangeOptions>
    requires std::same_as<Options, ExchangeOptions> Exchange(std::string name, Options options)
        : Exchange(std::move(name), "direct", std::move(options)) {}
    // Moving copies, so that there is no empty, moved-from state.
    Exchange(const Exchange&) = default;
    Exchange& operator=(const Exchange&) = default;
    ~Exchange() = default;

    /// Empty for the default exchange.
    const std::string& name() const noexcept;
    /// direct, topic, fanout, headers, or a type of a plug-in.
    const std::string& type() const noexcept;
    /// Whether it survives a restart of the broker.
    bool durable() const noexcept { return options().durable; }
    /// Whether it is deleted with its last binding.
    bool auto_delete() const noexcept { return options().auto_delete; }
    /// All options.
    const ExchangeOptions& options() const noexcept;

    /// Whether one declaration per connection is enough. False for an exchange that the broker may delete by itself.
    bool can_cache_declaration() const noexcept { return !options().auto_delete; }
    /// Everything that a declaration depends on, in an opaque form; equal for equal entities.
    const std::string& fingerprint() const noexcept;
    friend bool operator==(const Exchange& a, const Exchange& b) noexcept {
        return a.data_ == b.data_ || a.fingerprint() == b.fingerprint();
    }

private:
    struct Data;
    std::shared_ptr<const Data> data_;
};

/// An additional binding of a queue.
struct Binding {
    /// Where the messages come from.
    Exchange exchange{};
    /// The key, or the pattern of a topic exchange.
    std::string routing_key{};
    /// Of the binding, for an exchange of type headers.
    Json arguments = Json::object();
};

/// The answer of a broker to the declaration of a queue.
struct QueueInfo {
    /// The name, also when the broker has chosen it.
    std::string name{};
    /// The number of messages that are ready for delivery.
    std::uint32_t messages = 0;
    /// The number of consumers; 0 on Redis.
    std::uint32_t consumers = 0;
};

/// The kind of a queue on RabbitMQ.
enum class QueueType : std::uint8_t { classic, quorum, stream };

/// What happens to a message that a queue has no room for.
enum class Overflow : std::uint8_t {
    /// The oldest message makes room.
    drop_head,
    /// The new message is refused: publishing throws Nacked.
    reject_publish,
    /// Likewise, and the new message is dead-lettered.
    reject_publish_dlx,
};

/// How to declare a queue. Everything has a default; the names are Kombu's, or those of RabbitMQ's arguments.
struct QueueOptions {
    /// Whether it survives a restart of the broker.
    bool durable = true;
    /// Usable only by the connection that declared it, and deleted with that connection. Implies auto_delete.
    bool exclusive = false;
    /// Whether it is deleted with its last consumer.
    bool auto_delete = false;
    /// Messages of this queue need no acknowledgement.
    bool no_ack = false;
    /// Broker-specific arguments of the queue, a JSON object.
    Json queue_arguments = Json::object();
    /// Broker-specific arguments of the binding, a JSON object.
    Json binding_arguments = Json::object();
    /// The time without use, in seconds, after which the broker deletes the queue (x-expires).
    std::optional<std::chrono::duration<double>> expires{};
    /// The time, in seconds, that messages stay in the queue at most (x-message-ttl).
    std::optional<std::chrono::duration<double>> message_ttl{};
    /// The largest number of messages (x-max-length).
    std::optional<std::uint32_t> max_length{};
    /// The largest size of all messages together, in bytes (x-max-length-bytes).
    std::optional<std::uint64_t> max_length_bytes{};
    /// The highest priority that the queue distinguishes (x-max-priority).
    std::optional<std::uint8_t> max_priority{};
    /// Additional bindings, declared with the queue.
    std::vector<Binding> bindings{};
    /// Only check that it exists.
    bool passive = false;
    /// Whether declaring it does nothing: somebody else has declared it.
    bool no_declare = false;
    /// The kind of the queue (x-queue-type). Not set: the broker's default, a classic queue.
    std::optional<QueueType> type{};
    /// Deliver to one consumer at a time; another takes its place when it ends (x-single-active-consumer).
    bool single_active_consumer = false;
    /// How often a quorum queue delivers a message again before it is dead-lettered (x-delivery-limit).
    std::optional<std::uint32_t> delivery_limit{};
    /// What happens to a message beyond max_length or max_length_bytes (x-overflow). Not set: drop_head.
    std::optional<Overflow> overflow{};
    /// Where messages go that are rejected, or expire, or have no room (x-dead-letter-exchange). Empty: the default
    /// exchange.
    std::optional<std::string> dead_letter_exchange{};
    /// The routing key of dead letters (x-dead-letter-routing-key). Not set: that of the message.
    std::optional<std::string> dead_letter_routing_key{};
    /// Called with the broker's answer each time the queue has been declared, on the thread that declares it. What it
    /// throws ends the declaration.
    std::function<void(const QueueInfo&)> on_declared{};
};

/// A queue of messages: a name, the exchange and routing key that it is bound with, and how to declare it. An
/// immutable value that is cheap to copy and bound to no connection.
///
/// Declaring a queue declares its exchange, the queue, and the bindings, in that order.
///
/// \par Thread safety
/// As for any value: several threads may read one object.
/// \par Kombu
/// `kombu.Queue`
class KOMBU_EXPORT Queue {
public:
    /// A queue that is bound to an exchange.
    /// \throws ConfigurationError  when an option is out of range, an argument map is not a JSON object, or a name is
    ///   longer than 255 bytes
    Queue(std::string name, Exchange exchange, std::string routing_key = {}, QueueOptions options = {});
    /// The same without a routing key: `Queue{"tasks", exchange, {.durable = false}}`.
    template <class Options = QueueOptions>
    requires std::same_as<Options, QueueOptions> Queue(std::string name, Exchange exchange, Options options)
        : Queue(std::move(name), std::move(exchange), {}, std::move(options)) {}
    /// A queue on the default exchange, which routes to it by its name.
    explicit Queue(std::string name) : Queue(std::move(name), Exchange{}) {}
    /// The same, with options: `Queue{"tasks", {.durable = false}}`.
    template <class Options = QueueOptions>
    requires std::same_as<Options, QueueOptions> Queue(std::string name, Options options)
        : Queue(std::move(name), Exchange{}, {}, std::move(options)) {}
    Queue(const Queue&) = default;
    Queue& operator=(const Queue&) = default;
    ~Queue() = default;

    /// Empty until the broker has chosen one.
    const std::string& name() const noexcept;
    /// The exchange of its binding; the default exchange when it has none.
    const Exchange& exchange() const noexcept;
    /// The key of its binding.
    const std::string& routing_key() const noexcept;
    /// Whether it survives a restart of the broker.
    bool durable() const noexcept { return options().durable; }
    /// Whether it belongs to one connection.
    bool exclusive() const noexcept { return options().exclusive; }
    /// Whether it is deleted with its last consumer.
    bool auto_delete() const noexcept { return options().auto_delete; }
    /// All options.
    const QueueOptions& options() const noexcept;

    /// The arguments that are sent to the broker: queue_arguments, with those of the options that name one.
    const Json& declare_arguments() const noexcept;
    /// Whether one declaration per connection is enough. False for a queue that the broker may delete by itself, or
    /// whose name the broker chooses.
    bool can_cache_declaration() const noexcept;
    /// As Exchange::fingerprint.
    const std::string& fingerprint() const noexcept;
    friend bool operator==(const Queue& a, const Queue& b) noexcept {
        return a.data_ == b.data_ || a.fingerprint() == b.fingerprint();
    }

private:
    struct Data;
    std::shared_ptr<const Data> data_;
};

/// An exchange or a queue.
using Entity = std::variant<Exchange, Queue>;

}  // namespace kombu
