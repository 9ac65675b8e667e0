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

/// A channel: the operations of AMQP, one for one. Most programs need only Producer and SimpleQueue. Copies refer to
/// the same channel.
///
/// The `timeout` of a member bounds the whole call. Not set: the connection's `operation_timeout` (30 s). All members
/// throw these errors:
/// * ChannelError when the broker refuses. The channel is closed then, the connection is not.
/// * ConnectionError when the connection fails; Timeout, which is one, when the broker does not answer in time.
/// * LeaseError when the connection was given back to its pool, or is busy with another operation.
/// * ConfigurationError when a name is longer than 255 bytes or contains a NUL character.
///
/// \par Thread safety
/// One thread at a time may use a channel and its connection.
/// \par Kombu
/// `Connection.channel()`, `Connection.default_channel`
class KOMBU_EXPORT Channel {
public:
    /// Whether operations are possible on the channel. Sends nothing.
    bool is_open() const;
    /// Closes the channel. Messages that were not settled go back to their queues. A second call has no effect.
    void close(OptionalTimeout timeout = {});

    /// Declares an exchange with its own type and options. Has no effect for the default exchange, names that begin
    /// with `amq.`, and exchanges with `no_declare`.
    void exchange_declare(const Exchange& exchange, OptionalTimeout timeout = {});
    /// Deletes an exchange. With `if_unused`, an exchange with bindings is a ChannelError.
    void exchange_delete(std::string_view name, bool if_unused = false, OptionalTimeout timeout = {});
    /// Binds an exchange to another: what `source` routes to this binding, `destination` routes on. Redis has no such
    /// bindings: ChannelError 540.
    void exchange_bind(std::string_view destination, std::string_view source, std::string_view routing_key = {},
                       const Json& arguments = Json::object(), OptionalTimeout timeout = {});
    /// Removes such a binding.
    void exchange_unbind(std::string_view destination, std::string_view source, std::string_view routing_key = {},
                         const Json& arguments = Json::object(), OptionalTimeout timeout = {});
    /// Declares a queue, without its exchange and bindings. An empty name lets the broker choose one.
    /// \return the name of the queue and the number of its messages and consumers
    QueueInfo queue_declare(const Queue& queue, OptionalTimeout timeout = {});
    /// Binds a queue to an exchange.
    void queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                    const Json& arguments = Json::object(), OptionalTimeout timeout = {});
    /// Removes a binding.
    void queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                      const Json& arguments = Json::object(), OptionalTimeout timeout = {});
    /// Removes the messages of a queue that are ready for delivery; delivered messages stay.
    /// \return the number of removed messages
    std::uint32_t queue_purge(std::string_view name, OptionalTimeout timeout = {});
    /// Deletes a queue. A queue that does not exist is not an error.
    /// \param name  of the queue
    /// \param if_unused  throw ChannelError when it has consumers; has no effect on Redis
    /// \param if_empty  throw ChannelError when it has messages
    /// \param timeout  see Channel
    /// \return the number of messages that were deleted with it
    std::uint32_t queue_delete(std::string_view name, bool if_unused = false, bool if_empty = false,
                               OptionalTimeout timeout = {});
    /// Fetches the next message of a queue.
    /// \param queue  the name of the queue
    /// \param no_ack  the message needs no acknowledgement
    /// \param accept  the content types that Message::payload decodes
    /// \param timeout  see Channel
    /// \return nothing when the queue is empty
    std::optional<Message> basic_get(std::string_view queue, bool no_ack = false, ContentTypes accept = {},
                                     OptionalTimeout timeout = {});

    /// Declares an entity and what it depends on: a queue with its exchange and its bindings.
    void declare(const Entity& entity, OptionalTimeout timeout = {});

private:
    friend struct detail::ClientAccess;
    explicit Channel(detail::ChannelHandle handle) : handle_(std::move(handle)) {}

    detail::ChannelHandle handle_;
};

}  // namespace kombu
