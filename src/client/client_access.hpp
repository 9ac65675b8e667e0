// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/connection.hpp>
#include <kombu/message.hpp>

#include <memory>
#include <utility>

namespace kombu::detail {

/// The library's own access to the public classes, which name it as a friend.
struct ClientAccess {
    static const std::shared_ptr<ConnectionState>& state(const Connection& connection) noexcept {
        return connection.state_;
    }
    static Channel channel(ChannelHandle handle) { return Channel{std::move(handle)}; }
    static Message message(Delivery delivery, ChannelHandle channel, bool no_ack, ContentTypes accept) {
        return {std::move(delivery), std::move(channel), no_ack, std::move(accept)};
    }
};

}  // namespace kombu::detail
