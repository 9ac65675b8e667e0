// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer.hpp>
#include <kombu/detail/connection_ref.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "client/message_settler.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::detail {

/// What a Consumer and a ConsumerLoop have in common: queues, and the channel on which they are consumed from. Its
/// operations are parts of others, whose callers hold an OperationGuard of the connection.
class ConsumerState final : public MessageSettler, public std::enable_shared_from_this<ConsumerState> {
public:
    /// Throws ConfigurationError for invalid arguments.
    ConsumerState(ConnectionRef connection, std::vector<Queue> queues, ConsumerOptions options);

    const ConnectionRef& connection() const noexcept { return connection_; }
    const std::vector<Queue>& queues() const noexcept { return queues_; }

    /// Opens a channel, sets the prefetch count and declares, unless the channel is open.
    async::Operation<> open(Deadline deadline);
    /// Begins to consume from the queues that are not consumed from, after open().
    async::Operation<> consume(Deadline deadline);
    /// Ends the consumers of all queues, or of one. Requeues what they have received and was not handed out.
    async::Operation<> cancel(Deadline deadline, std::optional<std::string_view> queue = {});
    /// Ends the consumers. What they have received is still handed out.
    async::Operation<> cancel_and_keep(Deadline deadline);
    async::Operation<> set_prefetch_count(std::uint16_t count, Deadline deadline);
    async::Operation<std::uint32_t> purge(Deadline deadline);
    async::Operation<> recover(Deadline deadline);
    /// Closes the channel without waiting. When the connection is closed right after it, the broker may not have read
    /// what was settled.
    void close() noexcept;
    /// Closes the channel, and waits for the broker.
    async::Operation<> close_and_wait(Deadline deadline);
    bool consuming_from(std::string_view queue) const noexcept;
    /// The queues that are consumed from, each with its consumer tag, for the log.
    std::string description() const;

    /// The next message, without waiting. Throws ConsumerCancelled, after a call of on_cancelled, and the error that
    /// has closed the channel.
    std::optional<Message> next_message();
    /// The queue that the last message came from.
    const Queue& last_queue() const noexcept { return queues_[last_queue_]; }
    const std::shared_ptr<TransportChannel>& open_channel() const noexcept { return channel_; }
    /// Who settles the messages, while it exists; not set: the consumer itself.
    void set_settler(std::weak_ptr<MessageSettler> settler) { settler_ = std::move(settler); }
    bool has_event() const noexcept { return !events_.empty() || (channel_ && channel_->has_event()); }
    /// Waits for the next message.
    async::Operation<Message> receive();

    bool try_settle(const ChannelHandle& channel, std::uint64_t delivery_tag, async::Settlement settlement) override;
    async::Operation<> settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                              async::Settlement settlement) override;
    async::Operation<> acknowledge_until(ChannelHandle channel, std::uint64_t delivery_tag);
    /// Sends the settlements that were kept back.
    async::Operation<> flush(Deadline deadline);
    /// Whether settlements were kept back.
    bool has_unsent() const noexcept { return oldest_unsent_.has_value(); }

    Consumer::MessageHandler on_message{};
    std::vector<Consumer::Callback> callbacks{};
    Consumer::DecodeErrorHandler on_decode_error{};
    Consumer::CancelHandler on_cancelled{};

private:
    /// A queue that is consumed from.
    struct Subscription {
        std::string tag;
        std::size_t queue;
        bool no_ack;
        bool is_cancelled = false;
    };

    TransportChannel& channel() const;
    async::Operation<> declare_queue(TransportChannel& channel, std::size_t index, Deadline deadline);
    std::optional<ConsumerEvent> next_event();
    /// Whether a settlement that is made now may be sent later, because more messages have arrived on this channel. The
    /// first one begins the delay.
    bool can_keep_back(const TransportChannel& channel);
    /// Sends what was settled, unless more is to come soon.
    async::Operation<> flush_when_due(TransportChannel& channel, Deadline deadline);
    /// Requeues what the cancelled consumers have received.
    void requeue_events(const std::vector<std::string>& cancelled_tags);

    ConnectionRef connection_;
    std::vector<Queue> queues_;
    std::vector<bool> is_declared_;
    ConsumerOptions options_;
    std::weak_ptr<MessageSettler> settler_{};
    std::size_t last_queue_ = 0;
    std::shared_ptr<TransportChannel> channel_{};
    std::vector<Subscription> subscriptions_{};
    /// Messages that arrived for a consumer while another one was cancelled.
    std::deque<ConsumerEvent> events_{};
    std::optional<Clock::time_point> oldest_unsent_{};  // settlement
};

}  // namespace kombu::detail
