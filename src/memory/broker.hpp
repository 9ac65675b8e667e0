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

namespace kombu::memory {

/// One copy of a message in a queue. The content is shared between the copies.
struct Stored {
    std::shared_ptr<const OutgoingMessage> content{};
    std::uint64_t position = 0;
    bool redelivered = false;
};

/// A message taken from a queue, and where it goes back to.
struct Taken {
    std::string queue{};
    Stored message{};
};

/// Who calls: exclusive queues belong to one client, and a client can be interrupted.
struct Client {
    std::atomic<bool> interrupted{false};
    const std::uint32_t epoch = kombu::detail::fork_epoch();
    /// In a forked child, where the broker may be half changed: nothing of it may be touched.
    bool is_inherited() const noexcept { return epoch != kombu::detail::fork_epoch(); }
    /// Throws ConnectionError when the client may not use the broker.
    void check() const;
};

/// An in-process broker. Every operation is atomic, under one mutex: bodies are neither copied nor encoded under it.
/// Throws ChannelError with AMQP's codes, as RabbitMQ would answer.
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

    /// Returns the number of queues that took the message.
    std::size_t publish(std::shared_ptr<const OutgoingMessage> message);
    /// Takes the next message, waiting until `deadline` when there is none. Nothing when none came.
    async::Operation<std::optional<Taken>> take(std::string queue, const Client& client, Deadline deadline);
    /// Puts a message back to where it was in its queue, marked redelivered. Dropped when the queue is gone.
    void give_back(Taken taken);

    /// Wakes the client's waiting calls, which then throw ConnectionError.
    void interrupt(const Client& client);
    /// The client is gone: deletes its exclusive queues.
    void forget(const Client& client);

private:
    /// An operation that waits for a message. It leaves when it ends, and what it was handed and did not take goes
    /// back.
    struct Waiter {
        Broker& broker;
        const std::string& queue;
        const Client& client;
        async::Waker& waker;
        bool waits = false;
        bool queue_deleted = false;
        std::optional<Stored> message{};
        ~Waiter();
    };
    struct QueueState {
        Queue declared;
        const Client* owner = nullptr;
        std::deque<Stored> messages{};
        std::list<Waiter*> waiters{};
        std::uint64_t next_position = 1;
    };
    struct ExchangeState {
        Exchange declared;
        routing::Bindings bindings;
    };

    QueueState& queue(std::string_view name, const Client& client);
    ExchangeState& exchange(std::string_view name);
    void erase_queue(std::map<std::string, QueueState, std::less<>>::iterator found);
    void append(QueueState& queue, Stored message);
    static void hand_over(QueueState& queue, Stored message);

    std::mutex mutex_;
    std::map<std::string, QueueState, std::less<>> queues_;
    std::map<std::string, ExchangeState, std::less<>> exchanges_;
    std::uint64_t names_ = 0;
};

}  // namespace kombu::memory
