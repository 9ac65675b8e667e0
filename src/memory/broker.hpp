// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "memory/client.hpp"
#include "memory/dead_letter.hpp"
#include "memory/message_queue.hpp"
#include "virtual/routing.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::memory {

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
    void exchange_bind(std::string_view destination, std::string_view source, std::string_view routing_key,
                       const Json& arguments);
    void exchange_unbind(std::string_view destination, std::string_view source, std::string_view routing_key,
                         const Json& arguments);
    std::uint32_t queue_purge(std::string_view name, const Client& client);
    std::uint32_t queue_delete(std::string_view name, bool if_unused, bool if_empty, const Client& client);

    struct PublishResult {
        /// The number of queues that the message was routed to.
        std::size_t queues = 0;
        /// Whether one of them had no room for it.
        bool refused = false;
    };
    /// The queues that the messages with this metadata reach, until the topology changes.
    struct Route {
        std::shared_ptr<const MessageMetadata> metadata{};
        std::uint64_t topology = 0;
        std::vector<MessageQueue*> queues{};
    };
    /// \param last  the route of the publisher's last message, which becomes that of this one
    PublishResult publish(std::shared_ptr<const OutgoingMessage> message, Route& last);
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
    /// The message was rejected: it goes to the dead-letter exchange of its queue, if there is one.
    void reject(ReservedMessage reserved);

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
        std::uint64_t queue_id;
        MessageQueue::Waiter entry;
        ~Waiter();
    };
    struct ExchangeState {
        Exchange declared;
        routing::Bindings queues;
        routing::Bindings exchanges;

        explicit ExchangeState(Exchange exchange)
            : declared(std::move(exchange)), queues(declared.type()), exchanges(declared.type()) {}
        bool is_used() const noexcept { return !queues.empty() || !exchanges.empty(); }
    };
    struct DelayedMessage {
        std::string queue{};
        std::shared_ptr<const OutgoingMessage> content{};
    };
    using Queues = std::map<std::string, MessageQueue, std::less<>>;
    using Exchanges = std::map<std::string, ExchangeState, std::less<>>;

    MessageQueue& queue(std::string_view name, const Client& client);
    MessageQueue* find_queue(std::string_view name);
    /// Null as well when the queue was deleted, and there is another one of its name.
    MessageQueue* find_queue(std::string_view name, std::uint64_t id);
    ExchangeState& exchange(std::string_view name);
    void erase_queue(Queues::iterator found);
    void erase_exchange(std::string name);
    /// An exchange that has lost a binding may be one that is then deleted.
    void on_unbound(Exchanges::iterator found);
    /// The queues that a message reaches.
    std::vector<std::string> route(const MessageMetadata& message) const;
    /// Adds a message to a queue.
    /// \return false when the queue has no room for it
    bool append(MessageQueue& queue, std::shared_ptr<const OutgoingMessage> message);
    /// Called after messages may have left a queue or its next expiry may have changed.
    void after_change(MessageQueue& queue);
    /// Publishes messages to the dead-letter exchange of their queue.
    void publish_dead(const MessageQueue& from, std::vector<DeadMessage> dead);

    /// Does what is due: moves delayed messages to their queues, removes expired messages and queues. The operations
    /// do it when they begin and while they wait, so that it needs no thread.
    void upkeep();
    Clock::time_point next_due() const noexcept;
    /// Makes those who wait look at the time again when something is due earlier than they know.
    void note_due(Clock::time_point when);

    std::mutex mutex_;
    std::multimap<Clock::time_point, DelayedMessage> delayed_;
    Clock::time_point next_expiry_ = Clock::time_point::max();  // of a message or a queue; may be too early
    Queues queues_;
    Exchanges exchanges_;
    std::uint64_t topology_ = 1;  // changes when an exchange, a queue or a binding comes or goes
    std::uint64_t last_generated_name_ = 0;
    std::uint64_t last_queue_id_ = 0;
};

}  // namespace kombu::memory
