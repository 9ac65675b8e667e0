// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/detail/connection_ref.hpp>
#include <kombu/error.hpp>
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kombu {

/// The properties of a message. A property that is not set is not sent.
struct Properties {
    /// The MIME type of the body, which says how it is decoded.
    std::optional<std::string> content_type{};
    /// The character set of a text, or `binary`.
    std::optional<std::string> content_encoding{};
    /// The headers, a JSON object.
    Json headers = Json::object();
    /// 1 (transient) or 2 (persistent); see DeliveryMode.
    std::optional<int> delivery_mode{};
    /// From 0, the lowest; the queue must have `max_priority`.
    std::optional<int> priority{};
    /// Of the request that this message answers.
    std::optional<std::string> correlation_id{};
    /// The queue for answers.
    std::optional<std::string> reply_to{};
    /// Milliseconds, as text: the form of AMQP. PublishOptions::expiration is in seconds.
    std::optional<std::string> expiration{};
    /// Identifies the message for consumers that ignore what they have seen.
    std::optional<std::string> message_id{};
    /// Seconds since 1970-01-01 UTC.
    std::optional<std::uint64_t> timestamp{};
    /// The kind of the message, for the application.
    std::optional<std::string> type{};
    /// RabbitMQ refuses a name that is not the connection's.
    std::optional<std::string> user_id{};
    /// The application that sent it.
    std::optional<std::string> app_id{};
    /// Of no use since AMQP 0-9-1.
    std::optional<std::string> cluster_id{};

    friend bool operator==(const Properties&, const Properties&) = default;
};

/// How a message was delivered.
struct DeliveryInfo {
    /// Identifies the message on its channel.
    std::uint64_t delivery_tag = 0;
    /// Whether the message may have been delivered before.
    bool redelivered = false;
    /// The exchange that it was published to.
    std::string exchange{};
    /// The key that it was published with.
    std::string routing_key{};
};

/// Headers as they came, which a message decodes when somebody asks for them.
class EncodedHeaders {
public:
    /// Makes a JSON object of the bytes. Throws DecodeError when they are malformed.
    using Decode = Json (*)(std::string_view bytes);

    EncodedHeaders() = default;
    /// There are headers in `bytes`, which are copied. They must have each name as it is, or with an escape that begins
    /// with a backslash, as AMQP tables and JSON have.
    EncodedHeaders(std::string_view bytes, Decode decoder) : bytes_(bytes), decode_(decoder) {}

    /// Whether there are none.
    bool empty() const noexcept { return bytes_.empty(); }
    /// False when there is certainly no header of this name.
    bool may_have(std::string_view name) const noexcept {
        return bytes_.find(name) != std::string::npos || bytes_.find('\\') != std::string::npos;
    }
    /// The headers. They must not be empty().
    /// \throws DecodeError  when they are malformed
    Json decode() const { return decode_(bytes_); }

private:
    std::string bytes_{};
    Decode decode_ = nullptr;
};

/// A message as a transport delivers it.
struct Delivery {
    /// The bytes as they came: encoded, and perhaps compressed.
    std::string body{};
    /// The properties as they came.
    Properties properties{};
    /// How it came.
    DeliveryInfo info{};
    /// The reason when a part of the message cannot be decoded.
    std::optional<std::string> header_error{};
    /// The headers, where the transport leaves it to the message to decode them. Those of the properties are added to
    /// them.
    EncodedHeaders encoded_headers{};
};

namespace async {
/// How to settle a message.
enum class Settlement : std::uint8_t { acknowledge, reject, requeue };
}  // namespace async

/// A received message. It can be settled once: acknowledged, rejected or requeued. A message that is not settled goes
/// back to its queue when its channel closes; for pooled connections, when the lease ends.
///
/// Decoding is lazy: a message whose body cannot be decoded can still be settled. Every member of a message that was
/// moved from throws MessageStateError.
///
/// \par Thread safety
/// A message belongs to the thread that uses its connection. Members that are const decode, and keep what they decoded:
/// they are not for several threads at once either.
/// \par Fork
/// In a child, settling a message of the parent throws ConnectionError.
/// \par Kombu
/// `kombu.Message`
class KOMBU_EXPORT Message {
public:
    /// Equivalent to a message that was moved from.
    Message() noexcept;
    Message(Message&&) noexcept;
    Message& operator=(Message&&) noexcept;
    ~Message();

    /// The body, decoded by its content type; text and binary bodies are Json strings and Json binaries. Decoded
    /// once.
    /// \throws ContentDisallowed  when the content type is not accepted
    /// \throws DecodeError  when the body is invalid for its content type or compression
    const Json& payload() const;
    /// The body as a type of the program's, by its `from_json` (nlohmann_json): `message.payload_as<Article>()`.
    /// \throws ContentDisallowed  as payload() does
    /// \throws DecodeError  as payload() does, and when from_json refuses the value
    template <class T>
    T payload_as() const {
        const Json& value = payload();
        try {
            return value.template get<T>();
        } catch (const Json::exception& error) {
            throw DecodeError(std::string{"the body is not what the program expects: "} + error.what());
        }
    }
    /// The bytes of the body, decompressed.
    /// \throws DecodeError  when the compression is unknown, the data is invalid, or the headers that name it cannot be
    ///   decoded
    const std::string& body() const;
    /// The bytes of the body as received.
    const std::string& raw_body() const;

    /// The content type; empty when the sender set none.
    const std::string& content_type() const;
    /// The content encoding; empty when the sender set none.
    const std::string& content_encoding() const;
    /// The headers, a JSON object.
    /// \throws DecodeError  when they could not be decoded
    const Json& headers() const;
    /// The properties; its headers are empty when they could not be decoded.
    const Properties& properties() const;
    /// How it was delivered.
    const DeliveryInfo& delivery_info() const;
    /// Identifies the message on its channel.
    std::uint64_t delivery_tag() const { return delivery_info().delivery_tag; }
    /// Whether it may have been delivered before.
    bool redelivered() const { return delivery_info().redelivered; }

    /// Whether the message was settled, or needs no settlement (no_ack).
    /// \par Kombu
    /// `Message.acknowledged`
    bool acknowledged() const;
    /// Acknowledges the message. With no_ack, this and the other settlements have no effect.
    /// \throws MessageStateError  when the message was settled already
    /// \throws ChannelError  when the channel is closed; the broker has requeued the message then
    /// \throws ConnectionError  when the connection is closed; likewise
    /// \throws LeaseError  when the connection was given back to its pool, or is busy
    void ack();
    /// Rejects the message; with `requeue`, it goes back to its queue. Throws as ack() does.
    void reject(bool requeue = false);
    /// As reject(true).
    void requeue() { reject(true); }

    /// Asynchronous ack(), by kombu/asio.hpp. Completes with (error). The message must exist, at the same address,
    /// until then.
    template <class Token>
    auto async_ack(Token&& token);
    /// Asynchronous reject(), likewise.
    template <class Token>
    auto async_reject(bool requeue, Token&& token);

private:
    friend struct async::Operations;
    friend struct detail::ClientAccess;
    struct Data;

    Message(std::unique_ptr<Delivery> delivery, detail::ChannelHandle channel, bool no_ack, ContentTypes accept,
            std::shared_ptr<detail::MessageSettler> settler);
    Data& data() const;
    /// \throws MessageStateError  when the message was settled
    void check_unsettled() const;
    void settle(async::Settlement settlement);
    std::unique_ptr<Data> data_;
};

}  // namespace kombu
