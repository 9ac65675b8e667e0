// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/producer.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace kombu {

/// Messages that are sent together: one write, and one wait for all confirmations. Made by Producer::batch().
///
///     auto batch = producer->batch();
///     for (const auto& order : orders) batch.publish(order, {.routing_key = "orders"});
///     batch.commit(5s);
///
/// Threads: one at a time, together with the producer's connection. A batch that is destroyed sends nothing. Of one
/// whose producer was given back to its pool, commit() throws LeaseError.
class KOMBU_EXPORT Batch {
public:
    Batch(Batch&&) noexcept;
    Batch& operator=(Batch&&) noexcept;
    ~Batch();

    /// Collects a message; nothing is sent. Takes what Producer::publish takes and throws what that throws before
    /// anything is sent, and the batch is as it was then. The options `timeout` and `confirm_timeout` mean nothing
    /// here.
    void publish(const Json& body, const PublishOptions& options = {}) { add_json(body, options); }
    template <detail::TextBody Text>
    void publish(const Text& body, const PublishOptions& options = {}) {
        add_text(std::string_view{body}, options);
    }
    template <detail::BytesBody Bytes>
    void publish(const Bytes& body, const PublishOptions& options = {}) {
        add_bytes(std::span<const std::byte>{body}, options);
    }

    std::size_t size() const noexcept;
    bool empty() const noexcept { return size() == 0; }
    void clear() noexcept;

    /// Sends all, in their order, and returns when the broker has confirmed all; the batch is empty then. Without a
    /// timeout of its own it is bounded by the connection's operation_timeout. Those with the option `retry` are tried
    /// again together, by the policy of the first of them.
    ///
    /// Throws BatchError, which names those that failed and why, when not all were confirmed; the batch then holds just
    /// those, so that another commit() tries them once more. What failed with a Timeout or a ConnectionError, or
    /// because the channel was closed by the refusal of another message (a ChannelError that is not about it), may have
    /// arrived all the same. What else is thrown (LeaseError) leaves the batch whole.
    void commit(OptionalTimeout timeout = {});
    /// commit(), by kombu/asio.hpp.
    template <class Token>
    auto async_commit(OptionalTimeout timeout, Token&& token);
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
