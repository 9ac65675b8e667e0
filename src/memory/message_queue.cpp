// SPDX-License-Identifier: BSD-3-Clause
#include "memory/message_queue.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ranges>
#include <utility>

namespace kombu::memory {
namespace {

/// The time of the property, which is a number of milliseconds. Others are no expiration.
std::optional<std::chrono::milliseconds> expiration_of(const OutgoingMessage& message) {
    const auto& text = message.metadata->properties.expiration;
    if (!text) return std::nullopt;
    std::uint32_t milliseconds = 0;
    const char* const end = text->data() + text->size();
    const auto [stopped, error] = std::from_chars(text->data(), end, milliseconds);
    if (error != std::errc{} || stopped != end) return std::nullopt;
    return std::chrono::milliseconds{milliseconds};
}

}  // namespace

MessageQueue::MessageQueue(std::string name, std::uint64_t id, Queue declared, const Client* owner)
    : name_(std::move(name)),
      id_(id),
      declared_(std::move(declared)),
      policy_(declared_),
      owner_(owner),
      levels_(std::size_t{policy_.max_priority} + 1) {}

bool MessageQueue::has_exclusive_consumer() const noexcept {
    return std::ranges::any_of(consumers_, &Consumer::exclusive);
}

bool MessageQueue::refuses_publishing() const noexcept {
    if (policy_.overflow == QueuePolicy::Overflow::drop_head) return false;
    return (policy_.max_length && ready_ >= *policy_.max_length) ||
           (policy_.max_length_bytes && ready_bytes_ >= *policy_.max_length_bytes);
}

MessageQueue::Level& MessageQueue::level_of(const QueuedMessage& message) {
    const int priority = message.content->metadata->properties.priority.value_or(0);
    return levels_[static_cast<std::size_t>(std::clamp(priority, 0, int{policy_.max_priority}))];
}

void MessageQueue::insert(QueuedMessage message) {
    Level& level = level_of(message);
    ++ready_;
    ready_bytes_ += message.content->body.size();
    if (level.empty() || level.back().position < message.position) return level.push_back(std::move(message));
    const auto next =
        std::ranges::find_if(level, [&](const QueuedMessage& other) { return other.position > message.position; });
    level.insert(next, std::move(message));
}

QueuedMessage MessageQueue::pop_front(Level& level) {
    QueuedMessage message = std::move(level.front());
    level.pop_front();
    --ready_;
    ready_bytes_ -= message.content->body.size();
    return message;
}

void MessageQueue::append(std::shared_ptr<const OutgoingMessage> content) {
    QueuedMessage message{.content = std::move(content), .position = next_position_++};
    std::optional<std::chrono::milliseconds> time = policy_.message_ttl;
    if (const auto own = expiration_of(*message.content); own && (!time || *own < *time)) time = own;
    if (time) {
        expire();  // those before it, or they would be counted by the limits
        message.expires = Clock::now() + *time;
        has_timed_ = true;
    }
    // A consumer that waits gets also a message that expires at once.
    if (ready_ == 0 && is_awaited()) return hand_over(std::move(message));
    insert(std::move(message));
    expire();
    drop_excess();
}

void MessageQueue::requeue(std::vector<QueuedMessage> messages) {
    for (QueuedMessage& message : messages) {
        message.redelivered = true;
        if (policy_.is_quorum) ++message.delivery_count;
        if (policy_.delivery_limit && message.delivery_count > *policy_.delivery_limit)
            dead_.push_back({std::move(message), DeathReason::delivery_limit});
        else
            insert(std::move(message));
    }
    serve();
    drop_excess();
}

std::optional<QueuedMessage> MessageQueue::take() {
    expire();
    for (Level& level : levels_ | std::views::reverse)
        if (!level.empty()) return pop_front(level);
    return std::nullopt;
}

std::vector<QueuedMessage> MessageQueue::purge() {
    std::vector<QueuedMessage> purged;
    while (auto message = take()) purged.push_back(std::move(*message));
    return purged;
}

void MessageQueue::expire() {
    // Reading the clock costs as much as the rest of a publish.
    if (!has_timed_ || ready_ == 0) return;
    const Clock::time_point now = Clock::now();
    // At the head of the queue only, as RabbitMQ: behind a higher priority a message waits, expired or not.
    for (Level& level : levels_ | std::views::reverse) {
        while (!level.empty() && level.front().expires <= now)
            dead_.push_back({pop_front(level), DeathReason::expired});
        if (!level.empty()) return;
    }
}

bool MessageQueue::exceeds_limit() const noexcept {
    return (policy_.max_length && ready_ > *policy_.max_length) ||
           (policy_.max_length_bytes && ready_bytes_ > *policy_.max_length_bytes);
}

void MessageQueue::drop_excess() {
    if (policy_.overflow != QueuePolicy::Overflow::drop_head) return;
    for (Level& level : levels_ | std::views::reverse)
        while (!level.empty() && exceeds_limit()) dead_.push_back({pop_front(level), DeathReason::maxlen});
}

Clock::time_point MessageQueue::next_expiry() const noexcept {
    auto next = Clock::time_point::max();
    for (const Level& level : levels_ | std::views::reverse) {
        if (level.empty()) continue;
        next = level.front().expires;
        break;
    }
    if (policy_.expires && consumer_count() == 0) next = std::min(next, last_use_ + *policy_.expires);
    return next;
}

bool MessageQueue::is_expired(Clock::time_point now) const noexcept {
    return policy_.expires && consumer_count() == 0 && last_use_ + *policy_.expires <= now;
}

void MessageQueue::add_waiter(Waiter& waiter) {
    waiter.is_waiting = true;
    waiters_.push_back(&waiter);
}

void MessageQueue::remove_waiter(Waiter& waiter) {
    waiter.is_waiting = false;
    std::erase(waiters_, &waiter);
    touch();
}

void MessageQueue::add_consumer(Consumer& consumer) {
    consumer.queue_id = id_;
    consumers_.push_back(&consumer);
    serve();
}

bool MessageQueue::remove_consumer(Consumer& consumer) {
    if (std::erase(consumers_, &consumer) == 0) return false;
    touch();
    return true;
}

Consumer* MessageQueue::next_consumer() {
    if (consumers_.empty()) return nullptr;
    if (policy_.has_single_consumer) return consumers_.front()->has_capacity() ? consumers_.front() : nullptr;
    Consumer* best = nullptr;
    for (Consumer* consumer : consumers_)
        if (consumer->has_capacity() && (!best || consumer->priority > best->priority)) best = consumer;
    return best;
}

bool MessageQueue::is_awaited() { return !waiters_.empty() || next_consumer(); }

void MessageQueue::hand_over(QueuedMessage message) {
    if (!waiters_.empty()) {
        Waiter& waiter = *waiters_.front();
        waiters_.pop_front();
        touch();
        waiter.message = std::move(message);
        waiter.is_waiting = false;
        waiter.waker.wake();
        return;
    }
    Consumer* const consumer = next_consumer();
    consumer->push_event(ReservedMessage{name_, id_, std::move(message)});
    // Its next turn comes after all others.
    if (!policy_.has_single_consumer)
        consumers_.splice(consumers_.end(), consumers_, std::ranges::find(consumers_, consumer));
}

void MessageQueue::serve() {
    while (ready_ != 0 && is_awaited())
        if (auto message = take()) hand_over(std::move(*message));
}

void MessageQueue::wake_all() const {
    for (const Waiter* waiter : waiters_) waiter->waker.wake();
    for (const Consumer* consumer : consumers_)
        if (consumer->client->waker) consumer->client->waker->wake();
}

void MessageQueue::notify_deleted() {
    for (Consumer* consumer : consumers_) consumer->push_event(std::nullopt);
    for (Waiter* waiter : waiters_) {
        waiter->queue_deleted = true;
        waiter->is_waiting = false;
        waiter->waker.wake();
    }
}

void MessageQueue::wake(const Client& client) const {
    for (const Waiter* waiter : waiters_)
        if (&waiter->client == &client) waiter->waker.wake();
}

}  // namespace kombu::memory
