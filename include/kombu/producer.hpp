// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/json.hpp>
#include <kombu/message.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kombu {

namespace detail {

/// Text in any form; a Json that happens to be text is JSON, and so is nullptr.
template <class T>
concept TextBody =
    std::convertible_to<const T&, std::string_view> && !std::same_as<T, Json> && !std::same_as<T, std::nullptr_t>;

template <class T>
concept BytesBody = std::convertible_to<const T&, std::span<const std::byte>>;

}  // namespace detail

class Batch;

/// A point in time with a resolution of a second: a system_clock time point, or seconds since 1970.
class Timestamp {
public:
    template <class Duration>
    Timestamp(std::chrono::time_point<std::chrono::system_clock, Duration> when)
        : seconds_(static_cast<std::uint64_t>(
              std::chrono::duration_cast<std::chrono::seconds>(when.time_since_epoch()).count())) {}
    Timestamp(std::integral auto seconds) : seconds_(static_cast<std::uint64_t>(seconds)) {}
    std::uint64_t seconds() const noexcept { return seconds_; }
    friend bool operator==(Timestamp, Timestamp) = default;

private:
    std::uint64_t seconds_;
};

/// How to publish one message. Everything has a default.
struct PublishOptions {
    /// Not set: the producer's.
    std::optional<Exchange> exchange{};
    std::optional<std::string> routing_key{};
    /// Declared first, once per connection (see Producer::maybe_declare).
    std::vector<Entity> declare{};
    /// "json", "text", "bytes" or a registered one. Not set: the producer's, else by the type of the body.
    std::optional<std::string> serializer{};
    /// "zlib" or another name of compression.hpp. Not set: the producer's, else none.
    std::optional<std::string> compression{};
    /// A JSON object.
    Json headers = Json::object();
    /// Not set: the exchange's, else persistent.
    std::optional<DeliveryMode> delivery_mode{};
    /// 0 to 255; always sent.
    int priority = 0;
    /// How long the message is worth delivering.
    std::optional<std::chrono::duration<double>> expiration{};
    /// A message that reaches no queue is an Unroutable exception. Needs publisher confirms.
    bool mandatory = false;
    /// When set, the body is sent as it is: text or bytes, not serialised. The encoding is then utf-8 for text and
    /// binary for bytes, unless it is set too.
    std::optional<std::string> content_type{};
    std::optional<std::string> content_encoding{};
    std::optional<std::string> correlation_id{};
    std::optional<std::string> reply_to{};
    std::optional<std::string> message_id{};
    std::optional<Timestamp> timestamp{};
    std::optional<std::string> type{};
    std::optional<std::string> user_id{};
    std::optional<std::string> app_id{};
    /// Try again when the broker fails. A message may then arrive twice; give it a message_id.
    bool retry = false;
    RetryPolicy retry_policy{};
    /// For everything together: connecting, declaring, sending, the confirmation, all retries. Not set: the
    /// connection's operation_timeout, or no bound for a retry without max_retries and timeout.
    OptionalTimeout timeout{};
    /// For the broker's confirmation alone, from when the message is sent.
    OptionalTimeout confirm_timeout{};
};

struct ProducerOptions {
    /// Where to publish when a message does not say.
    Exchange exchange{};
    std::string routing_key{};
    std::optional<std::string> serializer{};
    /// Declare the producer's exchange before its first use.
    bool auto_declare = true;
    std::optional<std::string> compression{};
};

/// Publishes messages over a connection.
///
/// On a broker with publisher confirms (RabbitMQ, unless `confirm_publish` is false; the memory broker always)
/// publish() returns when the broker has taken responsibility for the message. Without confirms it returns when the
/// bytes were handed to the kernel, and what the broker refuses is reported by a later call at best.
///
/// Threads: one at a time, together with its connection; take one from `pools::producers` per thread.
class KOMBU_EXPORT Producer {
public:
    /// Without a connection until revive().
    Producer() = default;
    /// Connects at the first use. The connection may be destroyed before the producer; its session then lives on.
    explicit Producer(Connection& connection, ProducerOptions options = {});

    /// Publishes a JSON value. Throws EncodeError and SerializerNotInstalled before anything is sent; Nacked when the
    /// broker refused the message; Unroutable when it was mandatory and reached no queue; ChannelError when the
    /// exchange does not exist or a declaration is refused; Timeout and ConnectionError, after which nobody knows
    /// whether it arrived.
    void publish(const Json& body, const PublishOptions& options = {}) { publish_json(body, options); }

    /// Publishes text, as text/plain unless a serializer is named.
    template <detail::TextBody Text>
    void publish(const Text& body, const PublishOptions& options = {}) {
        publish_text(std::string_view{body}, options);
    }

    /// Publishes bytes, as application/data.
    template <detail::BytesBody Bytes>
    void publish(const Bytes& body, const PublishOptions& options = {}) {
        publish_bytes(std::span<const std::byte>{body}, options);
    }

    /// publish(), by kombu/asio.hpp.
    template <class Token>
    auto async_publish(const Json& body, const PublishOptions& options, Token&& token);
    template <detail::TextBody Text, class Token>
    auto async_publish(const Text& body, const PublishOptions& options, Token&& token);
    template <detail::BytesBody Bytes, class Token>
    auto async_publish(const Bytes& body, const PublishOptions& options, Token&& token);

    /// Collects messages to be sent together (see kombu/batch.hpp).
    Batch batch() const;

    /// Declares the entity unless this session has done so already. Returns whether it did. Declarations are remembered
    /// in full, so the same name with other properties is declared again; a refused operation and a new session forget
    /// them.
    bool maybe_declare(const Entity& entity, OptionalTimeout timeout = {});

    /// Declares the producer's own exchange.
    void declare() { maybe_declare(options_.exchange); }

    /// Uses another connection from now on.
    void revive(Connection& connection);
    /// Lets go of the connection; publish() throws LeaseError until revive().
    void release() noexcept { connection_ = {}; }

    const Exchange& exchange() const noexcept { return options_.exchange; }
    const std::string& routing_key() const noexcept { return options_.routing_key; }

private:
    friend struct async::Operations;

    void publish_json(const Json& body, const PublishOptions& options);
    void publish_text(std::string_view body, const PublishOptions& options);
    void publish_bytes(std::span<const std::byte> body, const PublishOptions& options);

    detail::ConnectionRef connection_{};
    ProducerOptions options_{};
};

}  // namespace kombu
