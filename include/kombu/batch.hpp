// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/producer.hpp>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

namespace kombu {

/// Messages that are sent together, with one write and one wait for all confirmations. Made by Producer::batch().
///
///     auto batch = producer->batch();
///     for (const auto& order : orders) batch.publish(order, {.routing_key = "orders"});
///     batch.commit(5s);
///
/// \par Thread safety
/// One thread at a time may use a batch, its producer and their connection.
/// \par Lifetime
/// The destructor sends nothing. When the producer goes back to its pool, the batch is unusable: commit() throws
/// LeaseError.
class KOMBU_EXPORT Batch {
public:
    Batch(Batch&&) noexcept;
    Batch& operator=(Batch&&) noexcept;
    ~Batch();

    /// Adds a message; nothing is sent. When it throws, the batch is unchanged.
    /// \param body  as for Producer::publish
    /// \param options  as for Producer::publish; `timeout` and `confirm_timeout` have no effect
    /// \throws EncodeError  when the body cannot be serialised or compressed
    /// \throws SerializerNotInstalled  when the serializer or compression is unknown
    /// \throws ConfigurationError  when an option is invalid
    /// \throws LeaseError  when the batch was moved from or is being committed, or its connection was given back
    void publish(const Json& body, const PublishOptions& options = {}) { add_json(body, options); }
    /// \overload
    template <TextBody Text>
    void publish(const Text& body, const PublishOptions& options = {}) {
        add_text(detail::text_of(body), options);
    }
    /// \overload
    template <BytesBody Bytes>
    void publish(const Bytes& body, const PublishOptions& options = {}) {
        add_bytes(detail::bytes_of(body), options);
    }
    /// The bytes must be contiguous: copy them into a std::vector.
    template <ScatteredBytes Bytes>
    void publish(const Bytes& body, const PublishOptions& options = {}) = delete;
    /// The body is missing: it comes before the options.
    void publish(const PublishOptions& options) = delete;
    /// `publish({})` adds JSON null.
    void publish(std::initializer_list<detail::SetByName>) { add_json(nullptr, {}); }

    /// The number of messages that the batch holds.
    std::size_t size() const noexcept;
    /// Whether the batch holds no messages.
    bool empty() const noexcept { return size() == 0; }
    /// Removes all messages; nothing is sent. Does nothing during a commit().
    void clear() noexcept;

    /// Sends all messages in their order, and waits until the broker has confirmed all. The batch is empty
    /// afterwards. Messages with the option `retry` are retried together, by the policy of the first of them.
    /// \param timeout  bounds the whole call, retries included; not set: the connection's `operation_timeout`
    /// \throws BatchError  when a message was not confirmed. It names the messages that failed and their errors. The
    ///   batch then holds exactly these, so that another commit() sends them again. A message whose error is a
    ///   Timeout, a ConnectionError, or a ChannelError about another message (which closed the channel) may have
    ///   arrived.
    /// \throws LeaseError  when the connection was given back to its pool or is busy; the batch is unchanged
    void commit(OptionalTimeout timeout = {});
    /// Asynchronous commit(), by kombu/asio.hpp. Completes with (error). The batch must exist, at the same address,
    /// until then.
    template <class Token>
    auto async_commit(OptionalTimeout timeout, Token&& token);
    /// \overload
    template <class Token>
    auto async_commit(Token&& token);

private:
    friend class Producer;
    friend struct async::Operations;
    struct Messages;

    Batch(detail::ConnectionRef connection, ProducerOptions options);
    void add_json(const Json& body, const PublishOptions& options);
    void add_text(std::string_view body, const PublishOptions& options);
    void add_bytes(std::span<const std::byte> body, const PublishOptions& options);
    template <class Body>
    void add(const Body& body, const PublishOptions& options);

    std::unique_ptr<Messages> messages_;
};

}  // namespace kombu
