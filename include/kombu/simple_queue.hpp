// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/entity.hpp>
#include <kombu/message.hpp>
#include <kombu/producer.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace kombu {

struct SimpleQueueOptions {
    /// Which content types payload() decodes.
    ContentTypes accept{};
    /// Messages need no acknowledgement: they are gone when they are sent. Not set: as the queue says.
    std::optional<bool> no_ack{};
    /// For put().
    std::optional<std::string> serializer{};
    std::optional<std::string> compression{};
};

struct GetOptions {
    /// Wait when the queue is empty.
    bool block = true;
    /// How long to wait for a message; when the broker is slow to answer, up to four seconds more. Not set: for
    /// ever.
    OptionalTimeout timeout{};
};

/// A queue of messages as simple as a queue in memory (Kombu's SimpleQueue). Made by Connection::simple_queue, which
/// declares it. Threads: one at a time, together with its connection.
class KOMBU_EXPORT SimpleQueue {
public:
    SimpleQueue(Connection& connection, Queue queue, SimpleQueueOptions options = {});
    /// Of no connection: every use throws LeaseError.
    SimpleQueue() = default;

    /// The next message. Throws Empty when there is none, at once or after the timeout.
    Message get(const GetOptions& options = {});
    Message get_nowait() { return get({.block = false}); }
    /// get(), by kombu/asio.hpp.
    template <class Token>
    auto async_get(const GetOptions& options, Token&& token);
    template <class Token>
    auto async_get(Token&& token);

    /// Publishes to the queue's exchange with the queue's routing key. Throws as Producer::publish does.
    template <class Body>
    void put(const Body& body, PublishOptions options = {}) {
        producer_.publish(body, addressed(std::move(options)));
    }

    /// put(), by kombu/asio.hpp.
    template <class Body, class Token>
    auto async_put(const Body& body, const PublishOptions& options, Token&& token);

    /// Removes all messages that nobody holds. Returns how many.
    std::uint32_t clear(OptionalTimeout timeout = {});
    /// How many messages wait.
    std::uint32_t qsize(OptionalTimeout timeout = {});

    const Queue& queue() const noexcept { return queue_; }

private:
    friend struct async::Operations;

    void set_up(Connection& connection, Queue queue, SimpleQueueOptions options);
    PublishOptions addressed(PublishOptions options) const;

    detail::ConnectionRef connection_{};
    Queue queue_{""};
    SimpleQueueOptions options_{};
    Producer producer_{};
};

}  // namespace kombu
