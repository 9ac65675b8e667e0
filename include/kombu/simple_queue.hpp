// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/entity.hpp>
#include <kombu/message.hpp>
#include <kombu/producer.hpp>

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

namespace kombu {

/// The options of a SimpleQueue.
struct SimpleQueueOptions {
    /// The content types that Message::payload decodes.
    ContentTypes accept{};
    /// Messages need no acknowledgement: the broker deletes them when it sends them. Not set: that of the queue.
    std::optional<bool> no_ack{};
    /// The serializer of put(); see PublishOptions.
    std::optional<std::string> serializer{};
    /// The compression of put(); see PublishOptions.
    std::optional<std::string> compression{};
};

/// How to wait for a message.
struct GetOptions {
    /// Wait when the queue is empty.
    bool block = true;
    /// The time to wait for a message. Not set: no bound. A broker that is slow to answer can add up to four seconds.
    OptionalTimeout timeout{};
};

/// A queue of messages with the interface of a queue in memory. Connection::simple_queue makes one and declares it.
///
/// \par Thread safety
/// One thread at a time may use a queue and its connection.
/// \par Kombu
/// `kombu.simple.SimpleQueue`
class KOMBU_EXPORT SimpleQueue {
public:
    /// As Connection::simple_queue.
    SimpleQueue(Connection& connection, Queue queue, SimpleQueueOptions options = {});
    /// A queue without a connection: every use throws LeaseError.
    SimpleQueue() = default;

    /// Receives the next message.
    ///
    /// On RabbitMQ, a blocking call that finds the queue empty registers a consumer for the duration of the wait,
    /// which takes a few more round trips. It polls a queue with auto_delete, since that would be deleted with its
    /// last consumer.
    /// \param options  whether and how long to wait; by default without bound
    /// \throws ConfigurationError  when the queue was declared as a stream (`x-queue-type`). A stream that this object
    ///   does not know to be one costs the connection: RabbitMQ closes it with 540.
    /// \throws Empty  when there is no message, at once or after the timeout
    /// \throws ChannelError  when the queue does not exist, or is deleted during the wait
    /// \throws ConnectionError  when the connection fails
    /// \throws LeaseError  when the connection was given back to its pool, or is busy
    Message get(const GetOptions& options = {});
    /// As get() with this timeout.
    template <class Rep, class Period>
    Message get(std::chrono::duration<Rep, Period> timeout) {
        return get({.timeout = timeout});
    }
    /// As get() without waiting.
    Message get_nowait() { return get({.block = false}); }
    /// Asynchronous get(), by kombu/asio.hpp. Completes with (error, Message).
    template <class Token>
    auto async_get(const GetOptions& options, Token&& token);
    /// \overload
    template <class Token>
    auto async_get(Token&& token);

    /// Publishes to the queue's exchange with the queue's routing key. With publisher confirms the message is
    /// mandatory, except for a fanout exchange: a queue that was deleted meanwhile is an error. \throws  as
    /// Producer::publish
    void put(const Json& body, PublishOptions options = {}) {
        producer_.publish(body, with_routing_key(std::move(options)));
    }
    /// \overload
    template <class Body>
    requires TextBody<Body> || BytesBody<Body>
    void put(const Body& body, PublishOptions options = {}) {
        producer_.publish(body, with_routing_key(std::move(options)));
    }
    /// The bytes must be contiguous: copy them into a std::vector.
    template <ScatteredBytes Bytes>
    void put(const Bytes& body, PublishOptions options = {}) = delete;
    /// The body is missing: it comes before the options.
    void put(const PublishOptions& options) = delete;
    /// `put({})` publishes JSON null.
    void put(std::initializer_list<detail::SetByName>) { put(Json{}); }

    /// Asynchronous put(), by kombu/asio.hpp. Completes with (error).
    template <class Body, class Token>
    auto async_put(const Body& body, const PublishOptions& options, Token&& token);

    /// Removes all messages that are ready for delivery; delivered messages stay.
    /// \return the number of removed messages
    std::uint32_t clear(OptionalTimeout timeout = {});
    /// The number of messages that are ready for delivery.
    /// \throws ChannelError  when the queue does not exist
    std::uint32_t qsize(OptionalTimeout timeout = {});

    /// The queue, with its name.
    const Queue& queue() const noexcept { return queue_; }

private:
    friend struct async::Operations;

    void initialise(Connection& connection, Queue queue, SimpleQueueOptions options);
    PublishOptions with_routing_key(PublishOptions options) const;

    detail::ConnectionRef connection_{};
    Queue queue_{""};
    SimpleQueueOptions options_{};
    Producer producer_{};
};

}  // namespace kombu
