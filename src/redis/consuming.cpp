// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>

#include "net/heartbeat_thread.hpp"
#include "net/round_trip.hpp"
#include "redis/channel.hpp"
#include "redis/connection.hpp"
#include "redis/waiting.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {

async::Operation<> RedisChannel::basic_qos(std::uint16_t prefetch_count, Deadline) {
    check();
    prefetch_count_ = prefetch_count;
    co_return;
}

async::Operation<> RedisChannel::basic_consume(const Queue& queue, const ConsumeOptions& options, Deadline deadline) {
    check();
    if (fanout_buffer(queue.name())) co_await subscribe_to_exchanges(queue.name(), deadline);
    connection_->start_renewing();
    consumers_.push_back(
        {.tag = options.tag, .queue = queue.name(), .no_ack = options.no_ack, .prefetch_count = prefetch_count_});
}

async::Operation<> RedisChannel::basic_cancel(std::string_view consumer_tag, Deadline) {
    check();
    for (Consumer& consumer : consumers_)
        if (consumer.tag == consumer_tag) consumer.is_active = false;
    co_return;
}

async::Operation<> RedisChannel::publish_later(const OutgoingMessage& message, const std::string& queue,
                                               std::chrono::milliseconds delay, Deadline deadline) {
    const auto when = std::chrono::system_clock::now() + delay;
    co_await run_on_channel(publish_at(connection_->context(), message, queue, when, deadline), deadline);
    connection_->on_delayed(queue, delay);
}

void RedisChannel::on_delayed(const std::string& queue, Deadline due) {
    for (auto& [key, waited] : waited_queues_)
        if (waited->name == queue) waited->next_delayed = std::min(waited->next_delayed, due);
}

bool RedisChannel::is_consuming() const noexcept {
    return is_open() && std::ranges::any_of(consumers_, &Consumer::is_active);
}

std::shared_ptr<WaitedQueue> RedisChannel::waited_queue(const Consumer& consumer) {
    return waited_queue(consumer.queue, !consumer.no_ack && connection_->context().options.ack_emulation);
}

void RedisChannel::on_arrival(Consumer& consumer, ReceivedMessage message) {
    ++consumer.unsettled;
    if (!message.unacked_tag.empty()) connection_->held_messages().add(message.unacked_tag);
    arrived_.push_back({&consumer, std::move(message)});
}

std::optional<ConsumerEvent> RedisChannel::next_event() {
    if (!is_open() || arrived_.empty()) return std::nullopt;
    Arrived next = std::move(arrived_.front());
    arrived_.pop_front();
    Consumer& consumer = *next.consumer;
    if (consumer.no_ack) --consumer.unsettled;
    ConsumerEvent event{consumer.tag, nullptr};
    event.delivery = deliver(std::move(next.message), consumer.no_ack, fanout_buffer(consumer.queue), &consumer);
    return event;
}

void RedisChannel::on_settled(const UnackedMessage& unacked) noexcept {
    if (!unacked.consumer) return;
    --unacked.consumer->unsettled;
    connection_->held_messages().remove(unacked.message.unacked_tag);
}

void RedisChannel::requeue_nowait(const ReceivedMessage& message, SubscriptionBuffer* buffer) {
    if (buffer)
        buffer->push_front(redelivered_envelope(message));
    else
        requeue_message_nowait(connection_->context(), message);
}

void RedisChannel::settle_later(std::uint64_t delivery_tag, async::Settlement settlement) {
    check();
    const net::SessionLock::Guard guard{connection_->session_lock()};
    const auto found = unacked_.find(delivery_tag);
    if (found == unacked_.end())
        throw ChannelError("the message was delivered again: it can no longer be settled", 406);
    UnackedMessage& unacked = found->second;
    on_settled(unacked);
    if (settlement == async::Settlement::requeue)
        requeue_nowait(unacked.message, unacked.requeue_buffer);
    else if (!unacked.message.unacked_tag.empty())
        acknowledged_tags_.push_back(std::move(unacked.message.unacked_tag));
    unacked_.erase(found);
}

void RedisChannel::requeue_later(std::span<const std::uint64_t> delivery_tags) {
    // Each goes to the end that is served next.
    for (auto tag = delivery_tags.rbegin(); tag != delivery_tags.rend(); ++tag)
        settle_later(*tag, async::Settlement::requeue);
}

void RedisChannel::acknowledge_until(std::uint64_t delivery_tag) {
    check();
    while (!unacked_.empty() && unacked_.begin()->first <= delivery_tag)
        settle_later(unacked_.begin()->first, async::Settlement::acknowledge);
}

void RedisChannel::send_acknowledgements() {
    if (acknowledged_tags_.empty()) return;
    acknowledge_nowait(connection_->context(), acknowledged_tags_);
    acknowledged_tags_.clear();
}

async::Operation<> RedisChannel::flush(Deadline deadline) {
    check();
    const net::SessionLock::Guard guard{connection_->session_lock()};
    send_acknowledgements();
    co_await connection_->send_output(deadline);
}

async::Operation<> RedisChannel::basic_recover(Deadline deadline) {
    check();
    {
        const net::SessionLock::Guard guard{connection_->session_lock()};
        for (; !arrived_.empty(); arrived_.pop_back()) {
            Arrived& last = arrived_.back();
            connection_->held_messages().remove(last.message.unacked_tag);
            --last.consumer->unsettled;
            const bool is_fanout = last.message.source_list.empty();
            requeue_nowait(last.message, is_fanout ? fanout_buffer(last.consumer->queue) : nullptr);
        }
        for (auto at = unacked_.rbegin(); at != unacked_.rend(); ++at) {
            on_settled(at->second);
            requeue_nowait(at->second.message, at->second.requeue_buffer);
        }
        unacked_.clear();
    }
    co_await flush(deadline);
}

namespace {

/// The time for a request of a wait that has no end.
constexpr std::chrono::seconds request_timeout{30};

/// A consumer that may have more messages.
struct Candidate {
    std::shared_ptr<RedisChannel> channel;
    std::size_t index;  // of the consumer in its channel
    RedisChannel::Consumer* consumer;
    std::shared_ptr<WaitedQueue> queue;
    SubscriptionBuffer* inbox;
};

std::vector<Candidate> find_candidates(const std::vector<std::shared_ptr<RedisChannel>>& channels) {
    std::vector<Candidate> candidates;
    for (const auto& channel : channels) {
        for (std::size_t i = 0; i < channel->consumers().size(); ++i) {
            RedisChannel::Consumer& consumer = channel->consumers()[i];
            if (consumer.is_active && consumer.capacity() != 0)
                candidates.push_back(
                    {channel, i, &consumer, channel->waited_queue(consumer), channel->inbox_of(consumer)});
        }
    }
    return candidates;
}

void arrange(std::vector<Candidate>& candidates, Options::QueueOrder order, std::size_t turn) {
    if (order == Options::QueueOrder::sorted)
        std::ranges::stable_sort(candidates, {}, [](const Candidate& each) { return each.consumer->queue; });
    if (order == Options::QueueOrder::round_robin && !candidates.empty())
        std::ranges::rotate(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(turn % candidates.size()));
}

bool take_from_inbox(const Candidate& candidate, const std::string& peer) {
    if (!candidate.inbox || candidate.consumer->capacity() == 0) return false;
    auto message = pop_message(*candidate.inbox, peer);
    if (message) candidate.channel->on_arrival(*candidate.consumer, std::move(*message));
    return message.has_value();
}

}  // namespace

async::Operation<> RedisConnection::move_delayed(WaitedQueue& queue) {
    auto request = redis::move_due_messages(context_, queue);
    const auto next = co_await run(std::move(request), Deadline::after(request_timeout));
    // Others may delay messages too, and die.
    const std::chrono::nanoseconds interval = context_.options.unacked_restore_interval;
    queue.next_delayed = Deadline::after(next ? std::min<std::chrono::nanoseconds>(*next, interval) : interval);
    queue.on_restored(context_);
}

void RedisConnection::on_delayed(const std::string& queue, std::chrono::milliseconds delay) {
    for (const auto& each : channels_)
        if (const auto channel = each.lock()) channel->on_delayed(queue, Deadline::after(delay));
}

async::Operation<bool> RedisConnection::finish_fetch(Deadline deadline) {
    if (!fetching_) co_return false;
    async::Ready ready{.read = true};
    for (;;) {
        is_in_fetch_ = true;
        const bool is_done = fetching_->operation.resume(ready);
        is_in_fetch_ = false;
        if (is_done) break;
        async::Wait wait = fetching_->operation.wait();
        wait.until = std::min(wait.until, deadline);
        ready = co_await wait;
        if (!ready && deadline.expired()) {
            const Timeout error{stream_.peer() + ": no answer in time"};
            context_.session.fail(error);
            close_sockets();
            throw error;
        }
    }
    Fetch fetch = std::move(*fetching_);
    fetching_.reset();
    std::vector<ReceivedMessage> messages = fetch.operation.result();
    RedisChannel& channel = *fetch.channel;
    if (fetch.consumer < channel.consumers().size()) {
        for (ReceivedMessage& message : messages)
            channel.on_arrival(channel.consumers()[fetch.consumer], std::move(message));
    } else {  // the channel was closed meanwhile
        const net::SessionLock::Guard guard{session_lock()};
        for (auto message = messages.rbegin(); message != messages.rend(); ++message)
            requeue_message_nowait(context_, *message);
        messages.clear();
        driver_.try_send();
    }
    co_return !messages.empty();
}

async::Operation<> RedisConnection::await_events(Deadline until, Deadline wake_at, bool wakeable) {
    check_open();
    const bool has_messages = co_await finish_fetch();  // of a wait that was cancelled
    if (has_messages) co_return;
    std::vector<std::shared_ptr<RedisChannel>> channels;
    std::erase_if(channels_, [](const auto& each) { return each.expired(); });
    for (const auto& each : channels_)
        if (auto channel = each.lock(); channel && channel->is_consuming()) channels.push_back(std::move(channel));
    std::vector<Candidate> candidates = find_candidates(channels);
    arrange(candidates, context_.options.queue_order, turn_);
    poll_subscriber();
    for (const Candidate& each : candidates) each.queue->continue_wait(*this, until);
    for (bool is_first = true;; is_first = false) {
        bool has_arrived = false;
        for (const Candidate& each : candidates)
            while (take_from_inbox(each, context_.session.peer())) has_arrived = true;
        bool has_proceeded = false;
        for (const Candidate& each : candidates) {
            if (each.consumer->capacity() == 0 || !has_work(*each.queue)) continue;
            has_proceeded = true;
            fetching_.emplace(
                Fetch{each.queue, each.channel, each.index, serve(*each.queue, each.consumer->capacity(), until)});
            const bool has_received = co_await finish_fetch();
            if (!has_received) continue;
            has_arrived = true;
            if (context_.options.queue_order != Options::QueueOrder::round_robin) break;
        }
        renew_if_due();
        if (has_arrived) ++turn_;
        if (has_arrived || (!has_proceeded && std::min(until, wake_at).expired())) co_return;
        if (has_proceeded) continue;
        if (wakeable && !is_first) co_return;
        Deadline next = std::min({until, wake_at, held_messages_.next_renewal()});
        if (!candidates.empty()) next = std::min({next, context_.restore_timer.next(), next_subscriber_check()});
        for (const Candidate& each : candidates) next = std::min({next, each.queue->due(), each.queue->next_delayed});
        co_await wait_for_input(next, wakeable);
        for (const Candidate& each : candidates) each.queue->check_notice(*this);
    }
}

bool RedisConnection::has_work(const WaitedQueue& queue) const {
    return queue.is_due() || queue.next_delayed.expired() || context_.restore_timer.next().expired() ||
           next_subscriber_check().expired();
}

async::Operation<std::vector<ReceivedMessage>> RedisConnection::serve(WaitedQueue& queue, std::size_t count,
                                                                      Deadline until) {
    co_await check_subscriber();
    if (queue.next_delayed.expired()) co_await move_delayed(queue);
    if (context_.restore_timer.next().expired()) {
        co_await run(restore_if_due(context_, until), Deadline::after(request_timeout));
        queue.on_restored(context_);
    }
    std::vector<ReceivedMessage> messages;
    const Deadline deadline = until.is_never() ? Deadline::after(request_timeout) : net::allow_round_trip(until);
    if (queue.is_due()) messages = co_await queue.proceed(*this, count, until, deadline);
    co_return messages;
}

void RedisConnection::renew_if_due() {
    const std::vector<std::string> tags = held_messages_.take_due();
    if (tags.empty()) return;
    const net::SessionLock::Guard guard{session_lock()};
    renew_nowait(context_, tags);
    driver_.try_send();
}

void RedisConnection::start_renewing() {
    if (std::exchange(is_renewing_, true)) return;
    session_lock().enable_background();
    net::heartbeat_thread().add(
        *this, std::max<std::chrono::nanoseconds>(held_messages_.interval() / 4, std::chrono::milliseconds{50}));
}

bool RedisConnection::try_retain() noexcept {
    self_ = context_.session.failed() ? nullptr : weak_from_this().lock();
    return self_ != nullptr;
}

void RedisConnection::run() noexcept {
    // While a handler runs. The connection's user renews when it waits.
    if (held_messages_.next_renewal().expired() && session_lock().try_lock_background()) {
        try {
            const std::vector<std::string> tags = held_messages_.take_due();
            if (!tags.empty()) renew_nowait(context_, tags);
            driver_.try_send();
            driver_.poll();
        } catch (const std::exception&) {
            // The session has failed, and its user is told so.
        }
        session_lock().unlock_background();
    }
    const std::shared_ptr<RedisConnection> self = std::move(self_);
}

}  // namespace kombu::redis
