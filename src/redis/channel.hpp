// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include "redis/operations.hpp"
#include "redis/subscriptions.hpp"
#include "redis/waiting.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kombu::redis {

class RedisConnection;

/// A channel of a RedisConnection: its unacknowledged messages and its subscriptions. Redis itself has no channels.
class RedisChannel final : public TransportChannel {
public:
    explicit RedisChannel(std::shared_ptr<RedisConnection> connection);
    ~RedisChannel() override;

    bool is_open() const noexcept override;
    void check_open() const override { check(); }
    std::size_t unsettled() const noexcept override {
        return unacked_.size() + fanout_buffers_.size() + consumers_.size();
    }
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
    async::Operation<> prepare_to_receive(const Queue& queue, Deadline deadline) override;
    async::Operation<std::unique_ptr<Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                          Deadline deadline) override;
    async::Operation<std::unique_ptr<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                                 Deadline wait_until) override;
    async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline deadline) override;
    async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) override;

    // -- consuming.cpp
    async::Operation<> publish_later(const OutgoingMessage& message, const std::string& queue,
                                     std::chrono::milliseconds delay, Deadline deadline) override;
    async::Operation<> basic_qos(std::uint16_t prefetch_count, Deadline deadline) override;
    async::Operation<> basic_consume(const Queue& queue, const ConsumeOptions& options, Deadline deadline) override;
    async::Operation<> basic_cancel(std::string_view consumer_tag, Deadline deadline) override;
    std::optional<ConsumerEvent> next_event() override;
    bool has_event() const noexcept override { return !arrived_.empty(); }
    void settle_later(std::uint64_t delivery_tag, async::Settlement settlement) override;
    void requeue_later(std::span<const std::uint64_t> delivery_tags) override;
    void acknowledge_until(std::uint64_t delivery_tag) override;
    async::Operation<> flush(Deadline deadline) override;
    async::Operation<> basic_recover(Deadline deadline) override;

    /// A consumer. Redis has none: the connection looks at the queue for it.
    struct Consumer {
        std::string tag{}, queue{};
        bool no_ack = false;
        std::size_t prefetch_count = 0;
        std::size_t unsettled = 0;  // messages, with those that were not handed out
        bool is_active = true;

        std::size_t capacity() const noexcept {
            if (prefetch_count == 0 || no_ack) return max_received;
            return prefetch_count > unsettled ? prefetch_count - unsettled : 0;
        }
    };
    std::deque<Consumer>& consumers() noexcept { return consumers_; }
    std::shared_ptr<WaitedQueue> waited_queue(const Consumer& consumer);
    SubscriptionBuffer* inbox_of(const Consumer& consumer) { return fanout_buffer(consumer.queue); }
    /// A message of one of its consumers has arrived.
    void on_arrival(Consumer& consumer, ReceivedMessage message);
    bool is_consuming() const noexcept;
    void on_delayed(const std::string& queue, Deadline due);

private:
    /// A delivered message that is not settled yet; its `delivery` has moved to the user. `requeue_buffer` is null for
    /// a message that came from a list.
    struct UnackedMessage {
        ReceivedMessage message{};
        SubscriptionBuffer* requeue_buffer = nullptr;
        Consumer* consumer = nullptr;  // null for a message of basic_get and wait_for_message
    };
    struct Arrived {
        Consumer* consumer;
        ReceivedMessage message;
    };

    void check() const;
    /// As with AMQP, a ChannelError closes the channel, except Unroutable, OutOfMemoryError and BusyError.
    struct CloseOnRefusal;
    /// Runs an operation.
    template <class T>
    async::Operation<T> run_on_channel(async::Operation<T> operation, Deadline deadline);
    /// Creates the buffer on first use. Returns null if this session has not bound the queue to a fanout exchange.
    SubscriptionBuffer* fanout_buffer(std::string_view queue);
    async::Operation<> subscribe_to_exchanges(std::string queue, Deadline deadline);
    std::shared_ptr<WaitedQueue> waited_queue(const std::string& name, bool track_unacked);
    async::Operation<std::unique_ptr<Delivery>> receive(std::string queue, bool no_ack, Deadline wait_until,
                                                        Deadline deadline);
    std::unique_ptr<Delivery> deliver(ReceivedMessage message, bool no_ack, SubscriptionBuffer* buffer,
                                      Consumer* consumer = nullptr);
    UnackedMessage& unacked_message(std::uint64_t delivery_tag);
    void requeue_nowait(const ReceivedMessage& message, SubscriptionBuffer* buffer);
    void on_settled(const UnackedMessage& unacked) noexcept;
    void send_acknowledgements();

    std::shared_ptr<RedisConnection> connection_;
    RouteCache route_cache_{};
    std::map<std::uint64_t, UnackedMessage> unacked_{};
    std::map<std::string, SubscriptionBuffer, std::less<>> fanout_buffers_{};
    std::map<std::pair<std::string, bool>, std::shared_ptr<WaitedQueue>> waited_queues_{};
    std::deque<Consumer> consumers_{};  // a cancelled one stays: its messages refer to it
    std::deque<Arrived> arrived_{};
    std::vector<std::string> acknowledged_tags_{};  // not sent yet
    std::uint16_t prefetch_count_ = 0;
    std::uint64_t last_delivery_tag_ = 0;
    bool open_ = true;
    // The last handle to a channel may be destroyed on another thread, long after its connection has passed to another
    // user. The destructor must not touch the session then; close() and close_nowait() set this flag.
    bool close_called_ = false;
};

}  // namespace kombu::redis
