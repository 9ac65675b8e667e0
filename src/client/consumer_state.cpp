// SPDX-License-Identifier: BSD-3-Clause
#include "client/consumer_state.hpp"

#include <kombu/error.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/declare.hpp"
#include "messages/forbidden_value.hpp"
#include "support/validation.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

namespace kombu::detail {
namespace {

constexpr std::uint16_t default_prefetch_count = 100;
/// How long an acknowledgement is kept back at most while messages are handed out.
constexpr std::chrono::milliseconds max_delay{1};
/// RabbitMQ's pseudo-queue for replies knows no acknowledgements.
constexpr std::string_view reply_queue = "amq.rabbitmq.reply-to";

std::string next_tag(const std::string& prefix) {
    static std::atomic<std::uint64_t> last{0};
    return prefix + std::to_string(++last);
}

Queue with_name(const Queue& queue, const std::string& name) {
    return {name, queue.exchange(), queue.routing_key(), queue.options()};
}

}  // namespace

ConsumerState::ConsumerState(ConnectionRef connection, std::vector<Queue> queues, ConsumerOptions options)
    : connection_(std::move(connection)), queues_(std::move(queues)), options_(std::move(options)) {
    if (queues_.empty()) throw ConfigurationError("consumer: needs at least one queue");
    check_arguments(options_.arguments, "arguments");
    check_name(options_.tag_prefix, "tag_prefix");
    if (options_.tag_prefix.size() > 200) throw ConfigurationError("tag_prefix: longer than 200 bytes");
}

TransportChannel& ConsumerState::channel() const {
    connection_.checked();
    if (!channel_) throw ChannelError("the consumer is not open");
    return *channel_;
}

async::Operation<> ConsumerState::open(Deadline deadline) {
    if (channel_ && channel_->is_open()) co_return;
    // Messages may hold it until another thread destroys them: nothing is left to do then.
    if (channel_) channel_->close_nowait();
    channel_.reset();
    subscriptions_.clear();
    events_.clear();
    oldest_unsent_.reset();
    auto opened = co_await connection_.checked().open_channel(deadline);
    co_await opened->basic_qos(options_.prefetch_count.value_or(default_prefetch_count), deadline);
    is_declared_.assign(queues_.size(), false);
    for (std::size_t i = 0; i < queues_.size(); ++i) co_await declare_queue(*opened, i, deadline);
    channel_ = std::move(opened);
}

async::Operation<> ConsumerState::declare_queue(TransportChannel& channel, std::size_t index, Deadline deadline) {
    if (is_declared_[index]) co_return;
    Queue& queue = queues_[index];
    if (options_.auto_declare) {
        const std::string name = co_await declare(channel, queue, deadline);
        if (name != queue.name()) queue = with_name(queue, name);
    }
    co_await channel.prepare_to_receive(queue, deadline);
    is_declared_[index] = true;
}

async::Operation<> ConsumerState::consume(Deadline deadline) {
    co_await open(deadline);
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        if (consuming_from(queues_[i].name())) continue;
        co_await declare_queue(channel(), i, deadline);
        const Queue& queue = queues_[i];
        ConsumeOptions request{.tag = next_tag(options_.tag_prefix),
                               .no_ack = queue.name() == reply_queue,
                               .exclusive = options_.exclusive,
                               .priority = options_.priority,
                               .arguments = options_.arguments};
        // Before the request: the first message may arrive with the reply.
        subscriptions_.push_back({request.tag, i, options_.no_ack.value_or(queue.options().no_ack)});
        try {
            co_await channel().basic_consume(queue, request, deadline);
        } catch (...) {
            if (channel_) channel_->close_nowait();
            throw;
        }
    }
}

async::Operation<> ConsumerState::cancel(Deadline deadline, std::optional<std::string_view> queue) {
    if (!channel_ || !channel_->is_open()) {
        subscriptions_.clear();
        events_.clear();
        channel_.reset();
        co_return;
    }
    std::vector<std::string> tags;
    for (const Subscription& each : subscriptions_)
        if (!queue || queues_[each.queue].name() == *queue) tags.push_back(each.tag);
    for (const std::string& tag : tags) co_await channel().basic_cancel(tag, deadline);
    requeue_events(tags);
    std::erase_if(subscriptions_, [&](const Subscription& each) { return std::ranges::count(tags, each.tag) != 0; });
    co_await flush(deadline);
}

async::Operation<> ConsumerState::cancel_and_keep(Deadline deadline) {
    for (Subscription& each : subscriptions_) {
        if (std::exchange(each.is_cancelled, true)) continue;
        co_await channel().basic_cancel(each.tag, deadline);
    }
}

void ConsumerState::requeue_events(const std::vector<std::string>& cancelled_tags) {
    std::deque<ConsumerEvent> kept;
    std::vector<std::uint64_t> requeued;
    while (auto event = next_event()) {
        const auto subscription =
            std::ranges::find_if(subscriptions_, [&](const Subscription& each) { return each.tag == event->tag; });
        const bool can_requeue =
            subscription != subscriptions_.end() && queues_[subscription->queue].name() != reply_queue;
        if (std::ranges::count(cancelled_tags, event->tag) == 0 || !can_requeue)
            kept.push_back(std::move(*event));
        else if (event->delivery)
            requeued.push_back(event->delivery->info.delivery_tag);
    }
    channel().requeue_later(requeued);
    events_ = std::move(kept);
    oldest_unsent_ = Clock::now();
}

async::Operation<> ConsumerState::set_prefetch_count(std::uint16_t count, Deadline deadline) {
    options_.prefetch_count = count;
    if (!channel_ || !channel_->is_open()) co_return;
    const bool consumes = !subscriptions_.empty();
    co_await cancel(deadline);
    co_await channel().basic_qos(count, deadline);
    if (consumes) co_await consume(deadline);
}

async::Operation<std::uint32_t> ConsumerState::purge(Deadline deadline) {
    co_await open(deadline);
    std::uint32_t count = 0;
    for (const Queue& queue : queues_) count += co_await channel().queue_purge(queue.name(), deadline);
    co_return count;
}

async::Operation<> ConsumerState::recover(Deadline deadline) {
    events_.clear();
    co_await channel().basic_recover(deadline);
}

void ConsumerState::close() noexcept {
    if (channel_) channel_->close_nowait();
    channel_.reset();
    subscriptions_.clear();
    events_.clear();
}

async::Operation<> ConsumerState::close_and_wait(Deadline deadline) {
    const std::shared_ptr<TransportChannel> closing = channel_;
    subscriptions_.clear();
    if (closing && closing->is_open()) co_await closing->close(deadline);
    close();
}

bool ConsumerState::consuming_from(std::string_view queue) const noexcept {
    return std::ranges::any_of(subscriptions_, [&](const Subscription& each) {
        return !each.is_cancelled && queues_[each.queue].name() == queue;
    });
}

std::string ConsumerState::description() const {
    std::string text;
    for (const Subscription& each : subscriptions_)
        text += (text.empty() ? "" : ", ") + queues_[each.queue].name() + " (consumer " + each.tag + ")";
    return text;
}

std::optional<ConsumerEvent> ConsumerState::next_event() {
    if (events_.empty()) return channel_->next_event();
    std::optional<ConsumerEvent> event{std::move(events_.front())};
    events_.pop_front();
    return event;
}

std::optional<Message> ConsumerState::next_message() {
    if (!channel_) return std::nullopt;
    connection_.checked();
    if (!subscriptions_.empty()) channel_->check_open();
    auto event = next_event();
    if (!event) return std::nullopt;
    const auto subscription =
        std::ranges::find_if(subscriptions_, [&](const Subscription& each) { return each.tag == event->tag; });
    if (subscription == subscriptions_.end()) return std::nullopt;
    if (!event->delivery) {
        const ConsumerCancelled cancelled{queues_[subscription->queue].name(), event->tag};
        is_declared_[subscription->queue] = false;
        subscriptions_.erase(subscription);
        if (on_cancelled) on_cancelled(cancelled);
        throw cancelled;
    }
    if (subscription->no_ack && queues_[subscription->queue].name() != reply_queue) {
        channel_->settle_later(event->delivery->info.delivery_tag, async::Settlement::acknowledge);
        if (!oldest_unsent_) oldest_unsent_ = Clock::now();
    }
    last_queue_ = subscription->queue;
    auto settler = settler_.lock();
    if (!settler) settler = shared_from_this();
    return ClientAccess::message(std::move(event->delivery), {connection_, channel_}, subscription->no_ack,
                                 options_.accept, std::move(settler));
}

async::Operation<Message> ConsumerState::receive() {
    for (;;) {
        if (auto message = next_message()) co_return std::move(*message);
        if (has_unsent()) co_await flush(connection_.checked().deadline({}));
        co_await connection_.checked().await_events(Deadline::never(), Deadline::never(), false);
    }
}

bool ConsumerState::try_settle(const ChannelHandle& channel, std::uint64_t delivery_tag, async::Settlement settlement) {
    const ConnectionState::OperationGuard guard{channel.connection().checked()};
    channel.channel()->check_open();
    if (!can_keep_back(*channel.channel())) return false;
    channel.channel()->settle_later(delivery_tag, settlement);
    return true;
}

async::Operation<> ConsumerState::settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                                         async::Settlement settlement) {
    ConnectionState& connection = channel.connection().checked();
    const ConnectionState::OperationGuard guard{connection};
    channel.channel()->check_open();
    channel.channel()->settle_later(delivery_tag, settlement);
    co_await flush_when_due(*channel.channel(), connection.deadline({}));
}

async::Operation<> ConsumerState::acknowledge_until(ChannelHandle channel, std::uint64_t delivery_tag) {
    ConnectionState& connection = channel.connection().checked();
    const ConnectionState::OperationGuard guard{connection};
    channel.channel()->check_open();
    channel.channel()->acknowledge_until(delivery_tag);
    co_await flush_when_due(*channel.channel(), connection.deadline({}));
}

bool ConsumerState::can_keep_back(const TransportChannel& settled_channel) {
    if (&settled_channel != channel_.get() || !has_event()) return false;
    const Clock::time_point now = Clock::now();
    if (!oldest_unsent_) oldest_unsent_ = now;
    return now - *oldest_unsent_ < max_delay;
}

async::Operation<> ConsumerState::flush_when_due(TransportChannel& settled_channel, Deadline deadline) {
    if (can_keep_back(settled_channel)) co_return;
    oldest_unsent_.reset();
    co_await settled_channel.flush(deadline);
}

async::Operation<> ConsumerState::flush(Deadline deadline) {
    oldest_unsent_.reset();
    if (channel_ && channel_->is_open()) co_await channel_->flush(deadline);
}

}  // namespace kombu::detail
