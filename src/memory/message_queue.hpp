// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/operation.hpp>

#include "memory/client.hpp"
#include "memory/dead_letter.hpp"
#include "memory/queue_policy.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu::memory {

/// A queue: its ready messages, and those who receive them. The broker's mutex guards it.
class MessageQueue {
public:
    /// An operation that waits for one message.
    struct Waiter {
        const Client& client;
        async::Waker& waker;
        bool is_waiting = false;
        bool queue_deleted = false;
        std::optional<QueuedMessage> message{};
    };

    /// \throws ChannelError  406 when the arguments of the queue are invalid
    MessageQueue(std::string name, std::uint64_t id, Queue declared, const Client* owner);

    const std::string& name() const noexcept { return name_; }
    /// Unlike the name, never used again.
    std::uint64_t id() const noexcept { return id_; }
    const Queue& declared() const noexcept { return declared_; }
    const QueuePolicy& policy() const noexcept { return policy_; }
    /// The client of an exclusive queue; null for others.
    const Client* owner() const noexcept { return owner_; }
    std::size_t ready() const noexcept { return ready_; }
    std::size_t consumer_count() const noexcept { return waiters_.size() + consumers_.size(); }
    bool has_exclusive_consumer() const noexcept;

    /// Whether a limit of the queue refuses one more message.
    bool refuses_publishing() const noexcept;
    /// Adds a message at the end of its priority.
    void append(std::shared_ptr<const OutgoingMessage> content);
    /// Puts back messages, each at its position, marked as redelivered.
    void requeue(std::vector<QueuedMessage> messages);
    /// Removes the next message.
    std::optional<QueuedMessage> take();
    /// Removes all ready messages.
    std::vector<QueuedMessage> purge();
    /// Removes the messages whose time is over.
    void expire();
    /// The messages that have left the queue since the last call without having been handled.
    std::vector<DeadMessage> take_dead() { return std::exchange(dead_, {}); }
    /// When expire() has something to remove, or the queue itself is no longer used.
    Clock::time_point next_expiry() const noexcept;
    /// Whether nobody has used the queue for as long as it may exist without.
    bool is_expired(Clock::time_point now) const noexcept;
    /// Somebody has used the queue.
    void touch() noexcept {
        if (policy_.expires) last_use_ = Clock::now();
    }

    void add_waiter(Waiter& waiter);
    void remove_waiter(Waiter& waiter);
    void add_consumer(Consumer& consumer);
    /// \return false when it is no consumer of this queue
    bool remove_consumer(Consumer& consumer);
    /// Hands messages to those who wait and to consumers.
    void serve();
    /// Wakes all who wait.
    void wake_all() const;
    /// Tells those who wait and consumers that the queue is deleted.
    void notify_deleted();
    /// Wakes those who wait for this client.
    void wake(const Client& client) const;

private:
    using Level = std::deque<QueuedMessage>;

    Level& level_of(const QueuedMessage& message);
    void insert(QueuedMessage message);
    void drop_excess();
    bool exceeds_limit() const noexcept;
    QueuedMessage pop_front(Level& level);
    /// The consumer that gets the next message; null if none may have one.
    Consumer* next_consumer();
    bool is_awaited();
    /// Gives a message to the first waiter, else to the next consumer; is_awaited() is true.
    void hand_over(QueuedMessage message);

    std::string name_;
    std::uint64_t id_;
    Queue declared_;
    QueuePolicy policy_;
    const Client* owner_;
    std::vector<Level> levels_;  // by priority
    std::size_t ready_ = 0;
    std::uint64_t ready_bytes_ = 0;
    std::uint64_t next_position_ = 1;
    bool has_timed_ = false;  // a message with an expiration has been in the queue
    Clock::time_point last_use_ = Clock::now();
    std::vector<DeadMessage> dead_{};
    std::list<Waiter*> waiters_{};
    std::list<Consumer*> consumers_{};  // the one whose turn it is comes first
};

}  // namespace kombu::memory
