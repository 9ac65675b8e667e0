// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
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
#include <vector>

namespace kombu {

/// One place where a broker may be.
struct Endpoint {
    std::string hostname{};
    std::uint16_t port = 0;
    std::string userid{};
    Password password{};
    std::string virtual_host{};
};

/// A connection's description with everything filled in.
struct ConnectionParameters {
    std::string transport{};
    /// At least one; the first is the preferred one.
    std::vector<Endpoint> endpoints{};
    std::string failover_strategy = "round-robin";
    std::string login_method{};
    std::chrono::nanoseconds heartbeat{0};
    std::chrono::nanoseconds connect_timeout{std::chrono::seconds{5}};
    /// Not set: not encrypted.
    std::optional<SslOptions> ssl{};
    /// Checked and completed with the transport's defaults.
    Json transport_options = Json::object();

    /// How long an operation may take that has no timeout of its own.
    std::chrono::nanoseconds operation_timeout() const;
    bool confirm_publish() const;
    /// How often, and how patiently, all endpoints are tried: max_retries, interval_start, interval_step, interval_max
    /// and connect_retries_timeout of the transport options.
    RetryPolicy connect_policy() const;
};

/// What a message says beside its body. Messages that are published with the same options share one, so that transports
/// can remember what they have made of it.
struct MessageHead {
    std::string exchange{};
    /// As whoever publishes knows it: for brokers that do not keep it.
    std::string exchange_type = "direct";
    std::string routing_key{};
    bool mandatory = false;
    Properties properties{};
};

/// A message on its way to the broker.
struct OutgoingMessage {
    /// Never null.
    std::shared_ptr<const MessageHead> head{};
    std::string body{};
};

/// A channel as a transport provides it. Used by one thread at a time, one operation at a time. An operation's
/// arguments live until it has ended; it ends, or throws, by its deadline. One that is destroyed before must leave the
/// channel as if it had not begun, or the connection closed. Errors are ChannelError (and what derives from it) when
/// the channel is closed now and the connection is not (Unroutable, OutOfMemoryError and BusyError leave it open), and
/// ConnectionError (and what derives from it) when the connection is of no more use.
class KOMBU_EXPORT TransportChannel {
public:
    virtual ~TransportChannel() = default;

    virtual bool is_open() const noexcept = 0;
    /// How much is open on this channel that must not reach another user: deliveries that are, or may still be, with it
    /// without being settled, and messages that are not confirmed.
    virtual std::size_t unsettled() const noexcept = 0;
    virtual async::Operation<> close(Deadline deadline) = 0;
    /// Ends the channel's use without waiting for the broker; its destructor then does nothing, on whatever thread.
    /// False when the connection is of no more use.
    virtual bool close_nowait() noexcept = 0;

    virtual async::Operation<> exchange_declare(const Exchange& exchange, Deadline deadline) = 0;
    virtual async::Operation<> exchange_delete(std::string_view name, bool if_unused, Deadline deadline) = 0;
    virtual async::Operation<QueueInfo> queue_declare(const Queue& queue, Deadline deadline) = 0;
    virtual async::Operation<> queue_bind(std::string_view queue, std::string_view exchange,
                                          std::string_view routing_key, const Json& arguments, Deadline deadline) = 0;
    virtual async::Operation<> queue_unbind(std::string_view queue, std::string_view exchange,
                                            std::string_view routing_key, const Json& arguments, Deadline deadline) = 0;
    virtual async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline deadline) = 0;
    virtual async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                         Deadline deadline) = 0;

    /// Returns when the broker has confirmed, or at once when confirms are off. `confirm_timeout` bounds the wait for
    /// the confirmation alone. Throws Unroutable and Nacked without closing the channel.
    virtual async::Operation<> basic_publish(const OutgoingMessage& message, Deadline deadline,
                                             OptionalTimeout confirm_timeout) = 0;
    /// The same for many, sent in one go. What became of each: null when it was confirmed, else what basic_publish
    /// would have thrown; throws nothing of that itself. Without an override, one after the other.
    virtual async::Operation<std::vector<std::exception_ptr>> basic_publish_all(
        std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout);
    /// Messages of that queue will be asked for: where nothing is kept for who does not listen, listens from now on.
    virtual async::Operation<> prepare_to_receive(const Queue& queue, Deadline deadline);
    /// Nothing when the queue is empty.
    virtual async::Operation<std::optional<Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                                Deadline deadline) = 0;
    /// Waits for a message until `wait_until`. Nothing when none came. Leaves a queue alive that goes with its last
    /// consumer.
    virtual async::Operation<std::optional<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                                       Deadline wait_until) = 0;
    virtual async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline deadline) = 0;
    virtual async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) = 0;
};

/// A session with a broker. Used by one thread at a time, except interrupt().
class KOMBU_EXPORT TransportConnection {
public:
    virtual ~TransportConnection() = default;

    virtual async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) = 0;
    /// What is known without asking anybody.
    virtual bool is_open() const noexcept = 0;
    /// Looks, without a round trip, whether the peer has closed or is about to.
    virtual bool is_alive() noexcept = 0;
    /// Ends politely, by the deadline at the latest. Throws nothing.
    virtual async::Operation<> close(Deadline deadline) = 0;
    /// Ends without waiting for anything.
    virtual void abandon() noexcept = 0;
    /// From any thread: makes whatever the user of this session waits for fail now.
    virtual void interrupt() noexcept = 0;
};

/// A kind of broker. Used by any number of threads at once.
class KOMBU_EXPORT Transport {
public:
    virtual ~Transport() = default;

    /// Fills in what the endpoint leaves out, and removes what means nothing here, so that equal brokers become equal.
    /// Throws ConfigurationError for what cannot be.
    virtual void normalise(Endpoint& endpoint) const = 0;
    /// The options that this transport knows beside the common ones, with their defaults. The type of the default is
    /// the type of the option.
    virtual Json option_defaults() const { return Json::object(); }
    /// Throws ConfigurationError, naming the option, when one of its own cannot have that value. May replace the value
    /// by one that means the same. Without an override, the type must be that of the default.
    virtual void check_option(const std::string& name, Json& value) const;
    /// Whether its connections can be encrypted.
    virtual bool supports_ssl() const { return false; }
    virtual std::string default_login_method() const { return {}; }
    /// Throws ConfigurationError, naming the field, for a description that this transport cannot honour.
    virtual void check(const ConnectionParameters& parameters) const { (void)parameters; }
    /// Throws ConnectionError when there is no broker or it refuses, Timeout when it does not answer in time.
    virtual async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                           const ConnectionParameters& parameters,
                                                                           Deadline deadline) const = 0;
};

/// Makes a transport known under a URL scheme, or replaces the one of that name. Thread-safe.
KOMBU_EXPORT void register_transport(std::string name, std::shared_ptr<const Transport> transport);

}  // namespace kombu
