// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include "amqp/connection.hpp"
#include "amqp/session.hpp"

#include <cstdint>
#include <memory>

namespace kombu::amqp {

class AmqpConnection;

/// A channel of an AmqpConnection.
class AmqpChannel final : public TransportChannel {
public:
    AmqpChannel(std::shared_ptr<AmqpConnection> connection, std::shared_ptr<ChannelState> channel);
    ~AmqpChannel() override;

    bool is_open() const noexcept override;
    void check_open() const override;
    std::size_t unsettled() const noexcept override;
    async::Operation<> close(Deadline deadline) override;
    bool close_nowait() noexcept override;

    async::Operation<> exchange_declare(const Exchange& exchange, Deadline deadline) override;
    async::Operation<> exchange_delete(std::string_view name, bool if_unused, Deadline deadline) override;
    async::Operation<QueueInfo> queue_declare(const Queue& queue, Deadline deadline) override;
    async::Operation<> queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                  const Json& arguments, Deadline deadline) override;
    async::Operation<> queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                    const Json& arguments, Deadline deadline) override;
    async::Operation<> exchange_bind(std::string_view destination, std::string_view source,
                                     std::string_view routing_key, const Json& arguments, Deadline deadline) override;
    async::Operation<> exchange_unbind(std::string_view destination, std::string_view source,
                                       std::string_view routing_key, const Json& arguments, Deadline deadline) override;
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline deadline) override;
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline deadline) override;

    async::Operation<> basic_publish(const OutgoingMessage& message, Deadline deadline,
                                     OptionalTimeout confirm_timeout) override;
    async::Operation<std::vector<std::exception_ptr>> basic_publish_all(std::span<const OutgoingMessage> messages,
                                                                        Deadline deadline,
                                                                        OptionalTimeout confirm_timeout) override;
    async::Operation<std::unique_ptr<Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                          Deadline deadline) override;
    async::Operation<std::unique_ptr<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                                 Deadline wait_until) override;
    async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline deadline) override;
    async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) override;

    async::Operation<> publish_later(const OutgoingMessage& message, const std::string& queue,
                                     std::chrono::milliseconds delay, Deadline deadline) override;
    async::Operation<> basic_qos(std::uint16_t prefetch_count, Deadline deadline) override;
    async::Operation<> basic_consume(const Queue& queue, const ConsumeOptions& options, Deadline deadline) override;
    async::Operation<> basic_cancel(std::string_view consumer_tag, Deadline deadline) override;
    std::optional<ConsumerEvent> next_event() override;
    bool has_event() const noexcept override;
    void settle_later(std::uint64_t delivery_tag, async::Settlement settlement) override;
    void requeue_later(std::span<const std::uint64_t> delivery_tags) override;
    void acknowledge_until(std::uint64_t delivery_tag) override;
    async::Operation<> flush(Deadline deadline) override;
    async::Operation<> basic_recover(Deadline deadline) override;

private:
    async::Operation<> begin_publish(const OutgoingMessage& message, bool confirmed, Deadline deadline,
                                     OptionalTimeout confirm_timeout);
    /// Sends frames until the socket is full. Returns whether all has been sent. Fails the session when the deadline
    /// passes between two of them.
    bool try_send_frames(BodyFrames& frames, Deadline deadline);
    /// Sends what is left. Stops when the broker closes the channel; `frames` is not empty then.
    async::Operation<> send_rest(BodyFrames& frames, Deadline deadline);
    /// Ends the request of a message that was sent in part, with the error that closed the channel.
    void throw_closed(AmqpConnection::Driver::RequestScope& request) const;
    async::Operation<> confirm_when_sent(BodyFrames frames, std::uint64_t number, Deadline deadline,
                                         OptionalTimeout confirm_timeout, AmqpConnection::Driver::RequestScope request);
    async::Operation<> publish_when_unblocked(const OutgoingMessage& message, bool confirmed, Deadline deadline,
                                              OptionalTimeout confirm_timeout,
                                              AmqpConnection::Driver::RequestScope request);
    /// Ends a request that awaits no reply, after an attempt to send it.
    async::Operation<> finish_sending(bool all_sent, BodyFrames frames, Deadline deadline,
                                      AmqpConnection::Driver::RequestScope request);
    async::Operation<> end_when_sent(BodyFrames frames, Deadline deadline,
                                     AmqpConnection::Driver::RequestScope request);
    /// For publishing without confirms: throws the error that the broker sent for an earlier message, if any.
    void check_async_errors();

    std::shared_ptr<AmqpConnection> connection_;
    std::shared_ptr<ChannelState> channel_;
    std::int64_t next_error_check_ = 0;  // of the coarse clock
    // Set by close() and close_nowait(). The last reference to a channel may be released on another thread, after the
    // connection has passed to another holder: the destructor must not touch the session then.
    bool close_requested_ = false;
};

}  // namespace kombu::amqp
