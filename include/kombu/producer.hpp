// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/body.hpp>
#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/field.hpp>
#include <kombu/json.hpp>
#include <kombu/message.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kombu {

class Batch;

/// How to publish one message. Everything has a default.
struct PublishOptions {
    /// Not to be set. It makes `publish({.routing_key = "q"})`, without a body, an error of the compiler.
    detail::SetByName by_name = detail::SetByName{};
    /// The exchange. Not set: the producer's.
    std::optional<Exchange> exchange{};
    /// The routing key. Not set: the producer's.
    std::optional<std::string> routing_key{};
    /// Entities to declare first, once per connection (see Producer::maybe_declare).
    std::vector<Entity> declare{};
    /// "json", "text", "bytes" or a registered serializer. Not set: the producer's, otherwise by the type of the
    /// body.
    std::optional<std::string> serializer{};
    /// "zlib" or another name of kombu/compression.hpp. Not set: the producer's, otherwise none.
    std::optional<std::string> compression{};
    /// The headers, a JSON object; null: none.
    Json headers{};
    /// Not set: that of the exchange, otherwise persistent.
    std::optional<DeliveryMode> delivery_mode{};
    /// 0 to 255; always sent.
    int priority = 0;
    /// The time, in seconds, after which the broker discards the message. Up to 4294967 s.
    std::optional<std::chrono::duration<double>> expiration{};
    /// Throw Unroutable when the message reaches no queue. Requires publisher confirms.
    bool mandatory = false;
    /// When set, the body, which must be text or bytes, is sent unchanged instead of serialised.
    std::optional<std::string> content_type{};
    /// The encoding of a body with `content_type`. Not set: utf-8 for text, binary for bytes.
    std::optional<std::string> content_encoding{};
    /// Of the request that this message answers.
    std::optional<std::string> correlation_id{};
    /// The queue for answers.
    std::optional<std::string> reply_to{};
    /// Identifies the message for consumers that ignore what they have seen.
    std::optional<std::string> message_id{};
    /// When it was made.
    std::optional<Timestamp> timestamp{};
    /// The kind of the message, for the application.
    std::optional<std::string> type{};
    /// RabbitMQ refuses a name that is not the connection's.
    std::optional<std::string> user_id{};
    /// The application that sends it.
    std::optional<std::string> app_id{};
    /// Retry when the broker fails: until the timeout of the call or of the policy, or three times when there is none.
    /// The message may then arrive twice; a message_id lets consumers notice.
    bool retry = false;
    /// How often and when to retry.
    RetryPolicy retry_policy{};
    /// Bounds the whole call: connecting, declaring, sending, the confirmation, all retries. Not set: with `retry`,
    /// the timeout of its policy, or no bound when `max_retries` is std::nullopt; otherwise the connection's
    /// `operation_timeout`.
    OptionalTimeout timeout{};
    /// Bounds the wait for the broker's confirmation, from the sending of the message. Not set: no bound of its own.
    OptionalTimeout confirm_timeout{};
};

/// The defaults of a producer for messages that do not set the same option.
struct ProducerOptions {
    /// The exchange of messages that name none.
    Exchange exchange{};
    /// What the exchange routes by; with the default exchange the name of a queue.
    std::string routing_key{};
    /// How a JSON value becomes bytes: the name or the content type of a serializer. Not set: by the type of the body.
    std::optional<std::string> serializer{};
    /// Declare the producer's exchange before its first use on a connection.
    bool auto_declare = true;
    /// zlib, bzip2, lzma, zstd or brotli, where they are built in. Not set: none.
    std::optional<std::string> compression{};
};

/// Publishes messages over a connection.
///
/// With publisher confirms (RabbitMQ, unless the transport option `confirm_publish` is false), on Redis and on the
/// memory broker, publish() returns when the broker has taken responsibility for the message. Without confirms it
/// returns when the bytes were handed to the kernel; a later call reports a refusal, if any does.
///
/// \par Thread safety
/// One thread at a time may use a producer and its connection. Acquire one from `pools::producers` for each thread.
/// \par Lifetime
/// The connection may be destroyed before the producer; its session continues to exist.
/// \par Fork
/// In a child, the next operation connects anew.
/// \par Kombu
/// `kombu.Producer`
class KOMBU_EXPORT Producer {
public:
    /// A producer without a connection; see revive().
    Producer() = default;
    /// A producer for a connection.
    /// \param connection  is connected at the first use
    /// \param options  the defaults for messages
    explicit Producer(Connection& connection, ProducerOptions options = {});

    /// Publishes a JSON value.
    /// \param body  serialised by `serializer`, by default as application/json
    /// \param options  everything has a default
    /// \throws EncodeError  before anything is sent, when the body cannot be serialised or compressed
    /// \throws SerializerNotInstalled  before anything is sent, when the serializer or compression is unknown
    /// \throws ConfigurationError  before anything is sent, when an option is invalid
    /// \throws Nacked  when the broker refused the message
    /// \throws Unroutable  when a mandatory message reached no queue
    /// \throws ChannelError  when the exchange does not exist, or the broker refuses a declaration
    /// \throws ConnectionError  when the connection fails, and Timeout, which is one; the message may have arrived
    /// \throws LeaseError  when there is no connection, or it was given back to its pool, or is busy
    /// \par Kombu
    /// `Producer.publish`
    void publish(const Json& body, const PublishOptions& options = {}) { publish_json(body, options); }

    /// Publishes text, as text/plain unless a serializer is named.
    template <TextBody Text>
    void publish(const Text& body, const PublishOptions& options = {}) {
        publish_text(detail::text_of(body), options);
    }

    /// Publishes bytes, as application/data.
    template <BytesBody Bytes>
    void publish(const Bytes& body, const PublishOptions& options = {}) {
        publish_bytes(detail::bytes_of(body), options);
    }
    /// The bytes must be contiguous: copy them into a std::vector.
    template <ScatteredBytes Bytes>
    void publish(const Bytes& body, const PublishOptions& options = {}) = delete;
    /// The body is missing: it comes before the options.
    void publish(const PublishOptions& options) = delete;
    /// `publish({})` publishes JSON null.
    void publish(std::initializer_list<detail::SetByName>) { publish_json(nullptr, {}); }

    /// Asynchronous publish(), by kombu/asio.hpp. Completes with (error). Encodes at once: body and options may be
    /// destroyed after the call.
    template <class Token>
    auto async_publish(const Json& body, const PublishOptions& options, Token&& token);
    /// \overload
    template <TextBody Text, class Token>
    auto async_publish(const Text& body, const PublishOptions& options, Token&& token);
    /// \overload
    template <BytesBody Bytes, class Token>
    auto async_publish(const Bytes& body, const PublishOptions& options, Token&& token);
    /// The bytes must be contiguous: copy them into a std::vector.
    template <ScatteredBytes Bytes, class Token>
    auto async_publish(const Bytes& body, const PublishOptions& options, Token&& token) = delete;

    /// An empty batch, for messages that are sent together (see kombu/batch.hpp).
    Batch batch() const;

    /// Declares the entity unless this session has done so already. Sessions remember complete declarations: the same
    /// name with other properties is declared again. A refused operation clears the memory, and a new session starts
    /// without any.
    /// \param entity  an exchange or a queue
    /// \param timeout  bounds the call; not set: the connection's `operation_timeout`
    /// \return whether the entity was declared now
    /// \throws NotEquivalentError  when it exists with other properties
    /// \throws ChannelError  when the broker refuses for another reason
    /// \throws ConnectionError  when the connection fails
    /// \par Kombu
    /// `Producer.maybe_declare`
    bool maybe_declare(const Entity& entity, OptionalTimeout timeout = {});

    /// Declares the producer's own exchange.
    void declare() { maybe_declare(exchange()); }

    /// Uses this connection from now on.
    /// \par Kombu
    /// `Producer.revive`
    void revive(Connection& connection);
    /// Detaches the producer from its connection. publish() throws LeaseError until revive().
    void release() noexcept { connection_ = {}; }

    /// The exchange of publishes that name none.
    const Exchange& exchange() const noexcept { return options().exchange; }
    /// The routing key of publishes that name none.
    const std::string& routing_key() const noexcept { return options().routing_key; }

private:
    friend struct async::Operations;
    friend struct detail::ClientAccess;

    void publish_json(const Json& body, const PublishOptions& options);
    void publish_text(std::string_view body, const PublishOptions& options);
    void publish_bytes(std::span<const std::byte> body, const PublishOptions& options);

    const ProducerOptions& options() const noexcept;

    detail::ConnectionRef connection_{};
    std::shared_ptr<const ProducerOptions> options_{};  // null: the defaults
};

}  // namespace kombu
