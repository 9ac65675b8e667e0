// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/detail/connection_ref.hpp>
#include <kombu/entity.hpp>
#include <kombu/message.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kombu {

/// What a broker says of a queue.
struct QueueInfo {
    std::string name{};
    std::uint32_t messages = 0;
    std::uint32_t consumers = 0;
};

/// A channel: the plain operations of AMQP, one for one. Most programs need only Producer and SimpleQueue.
///
/// Copies refer to the same channel. Threads: one at a time, together with its connection. Every operation is bounded
/// by its timeout, or without one by the connection's `operation_timeout` (30 s). Throws ChannelError when the broker
/// refuses (the channel is closed then, the connection is not), ConnectionError when the connection fails, Timeout, and
/// LeaseError when the connection was given back to its pool.
class KOMBU_EXPORT Channel {
public:
    bool is_open() const;
    /// Closes the channel; deliveries that were not settled go back to their queues. Doing it twice does nothing.
    void close(OptionalTimeout timeout = {});

    /// Declares an exchange as it describes itself; does nothing when it is not to be declared.
    void exchange_declare(const Exchange& exchange, OptionalTimeout timeout = {});
    void exchange_delete(std::string_view name, bool if_unused = false, OptionalTimeout timeout = {});
    /// Declares the queue alone. An empty name lets the broker choose one.
    QueueInfo queue_declare(const Queue& queue, OptionalTimeout timeout = {});
    void queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                    const Json& arguments = Json::object(), OptionalTimeout timeout = {});
    void queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                      const Json& arguments = Json::object(), OptionalTimeout timeout = {});
    /// Removes the messages that nobody holds. Returns how many.
    std::uint32_t queue_purge(std::string_view name, OptionalTimeout timeout = {});
    /// Returns how many messages went with it. Deleting what does not exist is not an error.
    std::uint32_t queue_delete(std::string_view name, bool if_unused = false, bool if_empty = false,
                               OptionalTimeout timeout = {});
    /// The next message, or nothing when the queue is empty.
    std::optional<Message> basic_get(std::string_view queue, bool no_ack = false, ContentTypes accept = {},
                                     OptionalTimeout timeout = {});

    /// Declares an entity with all that belongs to it: a queue with its exchange and bindings.
    void declare(const Entity& entity, OptionalTimeout timeout = {});

private:
    friend struct detail::ClientAccess;
    explicit Channel(detail::ChannelHandle handle) : handle_(std::move(handle)) {}

    detail::ChannelHandle handle_;
};

}  // namespace kombu
