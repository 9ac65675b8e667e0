// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/async.hpp>
#include <kombu/channel.hpp>
#include <kombu/connection.hpp>
#include <kombu/message.hpp>
#include <kombu/producer.hpp>

#include <memory>
#include <utility>

namespace kombu::detail {

/// The library's own access to the public classes, which name it as a friend.
struct ClientAccess {
    static const std::shared_ptr<ConnectionState>& state(const Connection& connection) noexcept {
        return connection.state_;
    }
    /// Drops what the user of a producer assigned to it, unless that is this connection.
    static void reset(Producer& producer, const ConnectionState* connection) noexcept {
        if (producer.options_) producer.options_.reset();
        if (!producer.connection_.refers_to(connection)) producer.connection_ = {};
    }
    static Channel channel(ChannelHandle handle) { return Channel{std::move(handle)}; }
    static const ChannelHandle& handle(const Channel& channel) noexcept { return channel.handle_; }
    /// `settler`: of a consumer's message; otherwise null.
    static Message message(std::unique_ptr<Delivery> delivery, ChannelHandle channel, bool no_ack, ContentTypes accept,
                           std::shared_ptr<MessageSettler> settler = nullptr) {
        return {std::move(delivery), std::move(channel), no_ack, std::move(accept), std::move(settler)};
    }
    /// Whether the message was not moved from.
    static bool is_valid(const Message& message) noexcept { return message.data_ != nullptr; }
    static const ChannelHandle& channel_of(const Message& message);
    static bool has_header_error(const Message& message);
    /// False when there is certainly no header of this name. Decodes nothing.
    static bool may_have_header(const Message& message, std::string_view name);
    /// For who settles it without the message.
    static void mark_settled(Message& message, async::Settlement settlement);
    /// A message that was published again for a retry has its first exchange and routing key in these headers.
    static void restore_delivery_info(Message& message, const char* exchange, const char* routing_key);
};

}  // namespace kombu::detail
