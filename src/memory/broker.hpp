// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/detail/process.hpp>
#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "virtual/routing.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::memory {

/// One copy of a message in a queue. The content is shared between the copies.
struct QueuedMessage {
    std::shared_ptr<const OutgoingMessage> content{};
    std::uint64_t position = 0;
    bool redelivered = false;
};

/// A message removed from a queue, and the queue to which it is requeued.
struct ReservedMessage {
    std::string queue{};
    QueuedMessage message{};
};

/// A connection, as the broker sees it. An exclusive queue belongs to one client, and a client can be interrupted.
struct Client {
    std::atomic<bool> interrupted{false};
    /// The number of events in the inboxes of its channels, and the operation that waits for one; under the broker's
    /// mutex.
    std::size_t events = 0;
    async::Waker* waker = nullptr;
    const std::uint32_t epoch = kombu::detail::fork_epoch();
    /// True in a forked child. The broker may be inconsistent there and must not be touched.
    bool is_inherited() const noexcept { return epoch != kombu::detail::fork_epoch(); }
    /// Throws ConnectionError when the client may not use the broker.
    void check() const;
};

/// What a consumer of a channel has received: a message, or none when its queue was deleted.
struct InboxEvent {
    std::string consumer_tag{};
    std::optional<ReservedMessage> message{};
};

/// A consumer. It belongs to a channel; the broker's mutex guards it and its inbox.
struct Consumer {
    std::string tag{}, queue{};
    Client* client = nullptr;
    std::deque<InboxEvent>* inbox = nullptr;
    bool exclusive = false;
    int priority = 0;
    /// The number of messages that it may have unsettled; 0: no limit.
    std::size_t prefetch_count = 0;
    bool no_ack = false;
    std::size_t unsettled = 0;

    bool has_capacity() const noexcept { return prefetch_count == 0 || unsettled < prefetch_count; }
};

/// An in-process broker. Every operation is atomic under one mutex; bodies are neither copied nor encoded under it.
/// Throws ChannelError with the AMQP code that RabbitMQ would send.
class Broker {
public:
    Broker();

    void exchange_declare(const Exchange& exchange);
    void exchange_delete(std::string_view name, bool if_unused);
    QueueInfo queue_declare(const Queue& queue, const Client& client);
    void queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                    const Json& arguments, const Client& client);
    void queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                      const Json& arguments, const Client& client);
    std::uint32_t queue_purge(std::string_view name, const Client& client);
    std::uint32_t queue_delete(std::string_view name, bool if_unused, bool if_empty, const Client& client);

    /// Returns the number of queues that received the message.
    std::size_t publish(std::shared_ptr<const OutgoingMessage> message);
    /// Publishes to a queue at this time. A queue that does not exist then drops the message.
    void publish_at(Clock::time_point when, std::string queue, std::shared_ptr<const OutgoingMessage> message);
    /// Removes the next message of a queue, waiting until `deadline` when there is none. Returns nothing when none
    /// arrived.
    async::Operation<std::optional<ReservedMessage>> reserve(std::string queue, const Client& client,
                                                             Deadline deadline);
    /// Begins to deliver the messages of consumer.queue, which the consumer must outlive until remove_consumer().
    void add_consumer(Consumer& consumer);
    void remove_consumer(Consumer& consumer);
    /// Ends consumers, and puts back what they and their channel have: in one step, so that nobody else gets a later
    /// message first.
    void give_back(Client& client, const std::vector<Consumer*>& consumers, std::vector<ReservedMessage> messages,
                   std::deque<InboxEvent>& inbox);
    /// A message of the consumer was settled.
    void on_settled(Consumer& consumer);
    /// Takes the first event of a channel.
    std::optional<InboxEvent> take_event(Client& client, std::deque<InboxEvent>& inbox);
    bool has_event(const std::deque<InboxEvent>& inbox);
    async::Operation<> await_events(Client& client, Deadline until);
    /// Puts a message back at its position in its queue, marked redelivered. Drops it when the queue no longer exists.
    void requeue(ReservedMessage reserved);

    /// Wakes the client's waiting calls, which then throw ConnectionError.
    void interrupt(const Client& client);
    /// Deletes the exclusive queues of a client that disconnects.
    void disconnect(const Client& client);

private:
    /// An operation that waits for a message. The destructor removes it from its queue and requeues a message that was
    /// delivered to it and not used.
    struct Waiter {
        Broker& broker;
        const std::string& queue;
        const Client& client;
        async::Waker& waker;
        bool is_waiting = false;
        bool queue_deleted = false;
        std::optional<QueuedMessage> message{};
        ~Waiter();
    };
    struct QueueState {
        Queue declared;
        const Client* owner = nullptr;
        std::deque<QueuedMessage> messages{};
        std::list<Waiter*> waiters{};
        std::list<Consumer*> consumers{};  // the one whose turn it is comes first
        std::uint64_t next_position = 1;
    };
    struct ExchangeState {
        Exchange declared;
        routing::Bindings bindings;
    };

    QueueState& queue(std::string_view name, const Client& client);
    ExchangeState& exchange(std::string_view name);
    void erase_queue(std::map<std::string, QueueState, std::less<>>::iterator found);
    void append(QueueState& queue, QueuedMessage message);
    static void deliver(QueueState& queue, QueuedMessage message);
    /// The consumer that gets the next message; null if none may have one.
    static Consumer* next_consumer(QueueState& queue);
    static bool has_single_consumer(const QueueState& queue);
    /// Puts a message at its position.
    static void insert(QueueState& queue, QueuedMessage message);
    static void push_event(Consumer& consumer, std::optional<ReservedMessage> message);
    static void deliver_waiting_messages(QueueState& queue);

    /// Moves the delayed messages that are due to their queues. Whoever waits does it, so that it needs no thread.
    void move_due_messages();
    Deadline next_due() const noexcept { return delayed_.empty() ? Deadline::never() : delayed_.begin()->first; }

    struct DelayedMessage {
        std::string queue{};
        std::shared_ptr<const OutgoingMessage> content{};
    };
    std::mutex mutex_;
    std::multimap<Deadline, DelayedMessage> delayed_;
    std::map<std::string, QueueState, std::less<>> queues_;
    std::map<std::string, ExchangeState, std::less<>> exchanges_;
    std::uint64_t last_generated_name_ = 0;
};

}  // namespace kombu::memory
