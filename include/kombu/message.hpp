// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/detail/connection_ref.hpp>
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace kombu {

/// What travels beside a body. What is not set is not sent.
struct Properties {
    std::optional<std::string> content_type{};
    std::optional<std::string> content_encoding{};
    /// A JSON object.
    Json headers = Json::object();
    std::optional<int> delivery_mode{};
    std::optional<int> priority{};
    std::optional<std::string> correlation_id{};
    std::optional<std::string> reply_to{};
    /// Milliseconds, as text.
    std::optional<std::string> expiration{};
    std::optional<std::string> message_id{};
    /// Seconds since 1970.
    std::optional<std::uint64_t> timestamp{};
    std::optional<std::string> type{};
    std::optional<std::string> user_id{};
    std::optional<std::string> app_id{};
    std::optional<std::string> cluster_id{};

    friend bool operator==(const Properties&, const Properties&) = default;
};

/// How a message came here.
struct DeliveryInfo {
    /// Names the message on its channel.
    std::uint64_t delivery_tag = 0;
    bool redelivered = false;
    std::string exchange{};
    std::string routing_key{};
};

/// A message and how it came, as a transport hands it over.
struct Delivery {
    std::string body{};
    Properties properties{};
    DeliveryInfo info{};
    /// Why the headers could not be decoded, when they could not.
    std::optional<std::string> header_error{};
};

/// A received message. It is settled at most once: acknowledged, rejected or requeued; one that never is goes back to
/// its queue when its channel closes, which a pool sees to when the connection's lease ends.
///
/// Threads: belongs to the thread that uses the connection it came from. Decoding is lazy, and a body that cannot be
/// decoded does not keep the message from being settled. Of a message that was moved from, every member throws
/// MessageStateError.
class KOMBU_EXPORT Message {
public:
    /// As one that was moved from.
    Message() noexcept;
    Message(Message&&) noexcept;
    Message& operator=(Message&&) noexcept;
    ~Message();

    /// The body decoded by its content type; text and binary bodies are Json strings and Json binaries. Decoded once.
    /// Throws ContentDisallowed when the content type is not accepted, DecodeError when the body is not what it says.
    const Json& payload() const;
    /// The body's bytes, decompressed. Throws DecodeError when the compression is unknown or the data broken.
    const std::string& body() const;
    /// The body as it came.
    const std::string& raw_body() const;

    /// Empty when the sender said none.
    const std::string& content_type() const;
    const std::string& content_encoding() const;
    /// Throws DecodeError when they could not be decoded; body() and payload() do so too then.
    const Json& headers() const;
    const Properties& properties() const;
    const DeliveryInfo& delivery_info() const;
    std::uint64_t delivery_tag() const { return delivery_info().delivery_tag; }
    bool redelivered() const { return delivery_info().redelivered; }

    /// Whether it was settled, or needs not to be (no_ack).
    bool acknowledged() const;
    /// The next three settle the message. They throw MessageStateError when it is settled already, ChannelError or
    /// ConnectionError when the way back is gone (the broker has requeued it then), LeaseError when its connection was
    /// given back to a pool. With no_ack there is nothing to settle and they do nothing.
    void ack();
    void reject(bool requeue = false);
    void requeue() { reject(true); }

    /// The same, by kombu/asio.hpp: completes when the settlement is on its way.
    template <class Token>
    auto async_ack(Token&& token);
    template <class Token>
    auto async_reject(bool requeue, Token&& token);

private:
    friend struct async::Operations;
    friend struct detail::ClientAccess;
    struct Data;

    Message(Delivery delivery, detail::ChannelHandle channel, bool no_ack, ContentTypes accept);
    Data& data() const;
    std::unique_ptr<Data> data_;
};

}  // namespace kombu
