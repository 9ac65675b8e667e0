// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include "redis/operations.hpp"
#include "redis/subscriptions.hpp"
#include "redis/waiting.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace kombu::redis {

class RedisConnection;

/// A channel of a RedisConnection: its unacknowledged messages and its subscriptions. Redis itself has no channels.
class RedisChannel final : public TransportChannel {
public:
    explicit RedisChannel(std::shared_ptr<RedisConnection> connection);
    ~RedisChannel() override;

    bool is_open() const noexcept override;
    std::size_t unsettled() const noexcept override { return unacked_.size() + fanout_buffers_.size(); }
    async::Operation<> close(Deadline deadline) override;
    bool close_nowait() noexcept override;

    async::Operation<> exchange_declare(const Exchange& exchange, Deadline deadline) override;
    async::Operation<> exchange_delete(std::string_view name, bool if_unused, Deadline deadline) override;
    async::Operation<QueueInfo> queue_declare(const Queue& queue, Deadline deadline) override;
    async::Operation<> queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                  const Json& arguments, Deadline deadline) override;
    async::Operation<> queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                    const Json& arguments, Deadline deadline) override;
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline deadline) override;
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline deadline) override;

    async::Operation<> basic_publish(const OutgoingMessage& message, Deadline deadline,
                                     OptionalTimeout confirm_timeout) override;
    async::Operation<std::vector<std::exception_ptr>> basic_publish_all(std::span<const OutgoingMessage> messages,
                                                                        Deadline deadline,
                                                                        OptionalTimeout confirm_timeout) override;
    async::Operation<> prepare_to_receive(const Queue& queue, Deadline deadline) override;
    async::Operation<std::optional<Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                        Deadline deadline) override;
    async::Operation<std::optional<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                               Deadline wait_until) override;
    async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline deadline) override;
    async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) override;

private:
    /// A delivered message that is not settled yet; its `delivery` has moved to the user. `requeue_buffer` is null for
    /// a message that came from a list.
    struct UnackedMessage {
        ReceivedMessage message{};
        SubscriptionBuffer* requeue_buffer = nullptr;
    };

    void check() const;
    /// Runs an operation. As with AMQP, a ChannelError closes the channel, except Unroutable, OutOfMemoryError and
    /// BusyError.
    template <class T>
    async::Operation<T> run_on_channel(async::Operation<T> operation, Deadline deadline);
    /// Creates the buffer on first use. Returns null if this session has not bound the queue to a fanout exchange.
    SubscriptionBuffer* fanout_buffer(std::string_view queue);
    async::Operation<> subscribe_to_exchanges(std::string queue, Deadline deadline);
    WaitedQueue& waited_queue(const std::string& name, bool track_unacked);
    async::Operation<std::optional<Delivery>> receive(std::string queue, bool no_ack, Deadline wait_until,
                                                      Deadline deadline);
    Delivery deliver(ReceivedMessage message, bool no_ack, SubscriptionBuffer* buffer);
    UnackedMessage& unacked_message(std::uint64_t delivery_tag);

    std::shared_ptr<RedisConnection> connection_;
    RouteCache route_cache_{};
    std::map<std::uint64_t, UnackedMessage> unacked_{};
    std::map<std::string, SubscriptionBuffer, std::less<>> fanout_buffers_{};
    std::map<std::pair<std::string, bool>, WaitedQueue> waited_queues_{};
    std::uint64_t last_delivery_tag_ = 0;
    bool open_ = true;
    // The last handle to a channel may be destroyed on another thread, long after its connection has passed to another
    // user. The destructor must not touch the session then; close() and close_nowait() set this flag.
    bool close_called_ = false;
};

}  // namespace kombu::redis
