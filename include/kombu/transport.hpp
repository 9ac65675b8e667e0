// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/broker_info.hpp>
#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/failover.hpp>
#include <kombu/json.hpp>
#include <kombu/message.hpp>
#include <kombu/operation.hpp>
#include <kombu/retry.hpp>
#include <kombu/ssl.hpp>
#include <kombu/url.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kombu {

/// The configuration of a connection, with all defaults filled in.
struct ConnectionParameters {
    /// The scheme of the URL.
    std::string transport{};
    /// At least one; the first one is preferred.
    std::vector<Endpoint> endpoints{};
    /// Which endpoint comes next.
    FailoverStrategy failover_strategy{};
    /// PLAIN, AMQPLAIN or EXTERNAL.
    std::string login_method{};
    /// The interval that is asked for; 0: none.
    std::chrono::nanoseconds heartbeat{0};
    /// The bound of an attempt to connect.
    std::chrono::nanoseconds connect_timeout{std::chrono::seconds{5}};
    /// TLS settings. Not set: no TLS.
    std::optional<SslOptions> ssl{};
    /// Validated, and completed with the transport's defaults.
    Json transport_options = Json::object();

    /// The bound of operations without a timeout of their own.
    std::chrono::nanoseconds operation_timeout() const;
    /// Whether publishing waits for publisher confirms.
    bool confirm_publish() const;
    /// How often connecting is repeated: max_retries, interval_start, interval_step, interval_max and
    /// connect_retries_timeout of the transport options.
    RetryPolicy connect_policy() const;
};

/// The metadata of a message: everything but its body. Messages that are published with the same options share one
/// object, so that a transport can cache what it derives from it.
struct MessageMetadata {
    /// Empty: the default exchange.
    std::string exchange{};
    /// The type of the exchange as the publisher knows it, for brokers that do not store it.
    std::string exchange_type = "direct";
    /// What the exchange routes by.
    std::string routing_key{};
    /// Whether it is an error when no queue takes the message.
    bool mandatory = false;
    /// All properties of the message.
    Properties properties{};
};

/// The bytes of a message to be published: its own, or those of a caller that waits until the publish has ended. A copy
/// has its own.
class OutgoingBody {
public:
    OutgoingBody() = default;
    /// Owns the bytes.
    OutgoingBody(std::string bytes) noexcept : own_(std::move(bytes)) {}
    /// `bytes` exist until the publish has ended.
    static OutgoingBody view(std::string_view bytes) noexcept {
        OutgoingBody body;
        body.refer_to(bytes);
        return body;
    }
    OutgoingBody(const OutgoingBody& other) : own_(std::string_view{other}) {}
    OutgoingBody(OutgoingBody&&) noexcept = default;
    OutgoingBody& operator=(OutgoingBody other) noexcept {
        own_ = std::move(other.own_);
        view_ = other.view_;
        return *this;
    }
    ~OutgoingBody() = default;

    /// The bytes are these from now on, as those of view().
    void refer_to(std::string_view bytes) noexcept { view_ = bytes; }

    operator std::string_view() const noexcept { return view_.data() ? view_ : std::string_view{own_}; }
    /// The number of bytes.
    std::size_t size() const noexcept { return std::string_view{*this}.size(); }

private:
    std::string own_{};
    std::string_view view_{};  // without data: own_ has the bytes
};

/// A message to be published.
struct OutgoingMessage {
    /// Never null.
    std::shared_ptr<const MessageMetadata> metadata{};
    /// The bytes of the body, encoded and perhaps compressed.
    OutgoingBody body{};
};

/// How to consume from a queue; see ConsumerOptions.
struct ConsumeOptions {
    /// Names the consumer within its channel.
    std::string tag{};
    /// The deliveries need no acknowledgement.
    bool no_ack = false;
    /// Whether it must be the only consumer of the queue.
    bool exclusive = false;
    /// Consumers with a higher one get messages first.
    std::optional<int> priority{};
    /// Of the consumer, for extensions of the broker.
    Json arguments = Json::object();
};

/// What a consumer has received.
struct ConsumerEvent {
    /// The tag of the consumer.
    std::string tag{};
    /// Null when the broker has cancelled the consumer.
    std::unique_ptr<Delivery> delivery{};
};

/// A channel as a transport provides it.
///
/// What needs no wait may be done at the call, and throw there. An operation ends, with a result or an exception, by
/// its deadline. An operation that is destroyed earlier leaves the channel as if it had not begun, or the connection
/// closed.
///
/// Operations throw ChannelError, and classes derived from it, when the channel is closed and the connection is not;
/// Unroutable, OutOfMemoryError and BusyError leave the channel open. They throw ConnectionError, and classes derived
/// from it, when the connection is unusable.
///
/// \par Thread safety
/// Used by one thread at a time, for one operation at a time.
/// \par Lifetime
/// The arguments of an operation exist until it has ended.
class KOMBU_EXPORT TransportChannel {
public:
    virtual ~TransportChannel() = default;

    /// Whether operations are possible on the channel, and so on its connection. Performs no I/O.
    virtual bool is_open() const noexcept = 0;
    /// Throws the error that has closed the channel or the connection, if it is closed.
    virtual void check_open() const = 0;
    /// The number of unfinished items that must not reach the next user of the connection: deliveries that are not
    /// settled or may still arrive, and messages that are not confirmed.
    virtual std::size_t unsettled() const noexcept = 0;
    /// Closes the channel.
    virtual async::Operation<> close(Deadline deadline) = 0;
    /// Closes the channel without waiting for the broker. The destructor then does nothing, on any thread.
    /// \return false when the connection is unusable
    virtual bool close_nowait() noexcept = 0;

    /// See Channel::exchange_declare.
    virtual async::Operation<> exchange_declare(const Exchange& exchange, Deadline deadline) = 0;
    /// See Channel::exchange_delete.
    virtual async::Operation<> exchange_delete(std::string_view name, bool if_unused, Deadline deadline) = 0;
    /// See Channel::queue_declare.
    virtual async::Operation<QueueInfo> queue_declare(const Queue& queue, Deadline deadline) = 0;
    /// See Channel::queue_bind.
    virtual async::Operation<> queue_bind(std::string_view queue, std::string_view exchange,
                                          std::string_view routing_key, const Json& arguments, Deadline deadline) = 0;
    /// See Channel::queue_unbind.
    virtual async::Operation<> queue_unbind(std::string_view queue, std::string_view exchange,
                                            std::string_view routing_key, const Json& arguments, Deadline deadline) = 0;
    /// See Channel::exchange_bind.
    virtual async::Operation<> exchange_bind(std::string_view destination, std::string_view source,
                                             std::string_view routing_key, const Json& arguments,
                                             Deadline deadline) = 0;
    /// See Channel::exchange_unbind.
    virtual async::Operation<> exchange_unbind(std::string_view destination, std::string_view source,
                                               std::string_view routing_key, const Json& arguments,
                                               Deadline deadline) = 0;
    /// See Channel::queue_purge.
    virtual async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline deadline) = 0;
    /// See Channel::queue_delete.
    virtual async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                         Deadline deadline) = 0;

    /// Publishes a message. Ends when the broker has confirmed it, or at once when confirms are off. Unroutable and
    /// Nacked leave the channel open.
    /// \param message  exists until the operation has ended
    /// \param deadline  bounds the operation
    /// \param confirm_timeout  bounds the wait for the confirmation
    virtual async::Operation<> basic_publish(const OutgoingMessage& message, Deadline deadline,
                                             OptionalTimeout confirm_timeout) = 0;
    /// Publishes several messages with one write. The default implementation publishes one after the other.
    /// \param messages  exist until the operation has ended
    /// \param deadline  bounds the operation
    /// \param confirm_timeout  bounds the wait for the confirmations
    /// \return for each message null when it was confirmed, otherwise the exception that basic_publish would have
    ///   thrown. These exceptions are not thrown.
    virtual async::Operation<std::vector<std::exception_ptr>> basic_publish_all(
        std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout);
    /// Publishes a message to a queue after a delay; until then the broker stores it. Ends when it is stored.
    virtual async::Operation<> publish_later(const OutgoingMessage& message, const std::string& queue,
                                             std::chrono::milliseconds delay, Deadline deadline) = 0;
    /// Called before messages of the queue are requested. A broker that drops messages without a subscriber (Redis
    /// fanout) subscribes here. The default implementation does nothing.
    virtual async::Operation<> prepare_to_receive(const Queue& queue, Deadline deadline);
    /// Fetches the next message.
    /// \return null when the queue is empty
    virtual async::Operation<std::unique_ptr<Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                                  Deadline deadline) = 0;
    /// Waits for a message. Must not cause the deletion of a queue that is deleted with its last consumer.
    /// \return null when no message has arrived by `wait_until`
    virtual async::Operation<std::unique_ptr<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                                         Deadline wait_until) = 0;
    /// Acknowledges a delivery.
    virtual async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline deadline) = 0;
    /// Rejects a delivery, or requeues it.
    virtual async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) = 0;

    /// The number of unsettled deliveries that each consumer that begins from now on may have; 0: no limit.
    virtual async::Operation<> basic_qos(std::uint16_t prefetch_count, Deadline deadline) = 0;
    /// Begins to consume from a queue. TransportConnection::await_events() waits for the messages.
    virtual async::Operation<> basic_consume(const Queue& queue, const ConsumeOptions& options, Deadline deadline) = 0;
    /// Ends a consumer. What it has received before is still there for next_event().
    virtual async::Operation<> basic_cancel(std::string_view consumer_tag, Deadline deadline) = 0;
    /// The next message for a consumer of this channel, or its end, if it has arrived. Performs no I/O.
    virtual std::optional<ConsumerEvent> next_event() = 0;
    /// Whether next_event() has one.
    virtual bool has_event() const noexcept = 0;
    /// Settles a delivery of a consumer, without I/O: flush() or any later request of the connection sends it.
    virtual void settle_later(std::uint64_t delivery_tag, async::Settlement settlement) = 0;
    /// Requeues deliveries, likewise. They are given in the order in which they came, and come again in that order.
    virtual void requeue_later(std::span<const std::uint64_t> delivery_tags) = 0;
    /// Acknowledges all deliveries up to this one, likewise.
    virtual void acknowledge_until(std::uint64_t delivery_tag) = 0;
    /// Sends what was settled for later.
    virtual async::Operation<> flush(Deadline deadline) = 0;
    /// Requeues all deliveries that are not settled. They come again, and can be settled only then.
    virtual async::Operation<> basic_recover(Deadline deadline) = 0;
};

/// A connection to a broker as a transport provides it.
///
/// \par Thread safety
/// Used by one thread at a time, except interrupt(), which any thread may call.
class KOMBU_EXPORT TransportConnection {
public:
    virtual ~TransportConnection() = default;

    /// Opens a channel.
    virtual async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) = 0;
    /// Waits until next_event() of one of the channels may have something, or `until`, or `wake_at`; with `wakeable`
    /// also until the operation's waker is called. May end earlier. Requests on the way have until `until` and a round
    /// trip; `wake_at` does not bound them. Sends what is to be sent. Cancelling it loses nothing, and leaves the
    /// connection open.
    virtual async::Operation<> await_events(Deadline until, Deadline wake_at, bool wakeable) = 0;
    /// Waits until `until` for the value of a key to become another one than `known`, on a broker that is also a
    /// key-value store.
    /// \return the value; nothing when there is none
    /// \throws ConfigurationError  when the broker is no such store, as the default implementation does
    virtual async::Operation<std::optional<std::string>> await_value(std::string key, std::optional<std::string> known,
                                                                     Deadline until);
    /// Removes a key and its value, likewise.
    virtual async::Operation<> erase_value(std::string key, Deadline deadline);
    /// What the broker tells about itself, and the time of a round trip. The default implementation knows nothing.
    virtual async::Operation<BrokerInfo> broker_info(Deadline deadline);
    /// Whether the connection has not failed so far. Performs no I/O.
    virtual bool is_open() const noexcept = 0;
    /// The error that ended the connection: a Timeout when the peer was too slow for a caller. Null when it is open,
    /// and when its user has ended it, as by a cancellation in the middle of a request. Performs no I/O.
    virtual std::exception_ptr failure() const;
    /// Checks, without a round trip, whether the peer has closed the connection or announced it. False when it is not
    /// open.
    virtual bool is_alive() noexcept = 0;
    /// Closes the connection as the protocol asks for, by the deadline at the latest. Throws nothing.
    virtual async::Operation<> close(Deadline deadline) = 0;
    /// Closes the connection without waiting for anything.
    virtual void abandon() noexcept = 0;
    /// Makes the operation in progress fail now. May be called from any thread.
    virtual void interrupt() noexcept = 0;
};

/// A kind of broker.
///
/// \par Thread safety
/// Used by any number of threads at once.
class KOMBU_EXPORT Transport {
public:
    virtual ~Transport() = default;

    /// Fills in the defaults of an endpoint and clears what has no meaning for this transport, so that equal brokers
    /// compare equal.
    /// \throws ConfigurationError  for an invalid value
    virtual void normalise(Endpoint& endpoint) const = 0;
    /// The options of this transport in addition to the common ones, with their defaults. The type of a default is
    /// the type of its option.
    virtual Json option_defaults() const { return Json::object(); }
    /// Checks the value of one of this transport's own options. May replace the value by an equivalent one. The
    /// default implementation requires the type of the default.
    /// \throws ConfigurationError  when the value is invalid; the text names the option
    virtual void check_option(const std::string& name, Json& value) const;
    /// Whether TLS is supported.
    virtual bool supports_ssl() const { return false; }
    /// The login method of connections that name none.
    virtual std::string default_login_method() const { return {}; }
    /// Checks a configuration as a whole.
    /// \throws ConfigurationError  when this transport does not support it; the text names the field
    virtual void check(const ConnectionParameters& parameters) const { (void)parameters; }
    /// Checks the headers of a message, a JSON object, before anything is sent. By default every text must be UTF-8,
    /// every number finite, and the nesting at most 256 levels deep; an override must be at least as strict, since
    /// nobody else checks.
    /// \throws EncodeError  when brokers of this kind cannot carry them; the text names the value
    virtual void check_headers(const Json& headers) const;
    /// Connects to an endpoint and logs in.
    /// \throws ConnectionError  when there is no broker, or it refuses
    /// \throws Timeout  when it does not answer by the deadline
    virtual async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                           const ConnectionParameters& parameters,
                                                                           Deadline deadline) const = 0;
};

/// Registers a transport under a URL scheme. A transport of that name is replaced for connections that are
/// constructed later.
/// \throws ConfigurationError  when the name is empty or the transport is null
/// \par Thread safety
/// May be called from any thread.
KOMBU_EXPORT void register_transport(std::string name, std::shared_ptr<const Transport> transport);

}  // namespace kombu
