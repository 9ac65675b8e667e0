// SPDX-License-Identifier: BSD-3-Clause
#include "memory/broker.hpp"

#include <kombu/error.hpp>

#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <utility>

namespace kombu::memory {
using routing::throw_not_found;
using routing::throw_precondition_failed;

Broker::Broker() {
    for (const char* type : {"direct", "topic", "fanout", "headers"}) {
        const std::string name = std::string{"amq."} + type;
        exchanges_.emplace(name, ExchangeState{Exchange{name, type}, routing::Bindings{type}});
    }
    exchanges_.emplace("amq.match", ExchangeState{Exchange{"amq.match", "headers"}, routing::Bindings{"headers"}});
}

Broker::QueueState& Broker::queue(std::string_view name, const Client& client) {
    const auto found = queues_.find(name);
    if (found == queues_.end()) throw_not_found("queue", name);
    if (found->second.owner && found->second.owner != &client)
        throw ChannelError("RESOURCE_LOCKED - queue '" + std::string{name} + "' is exclusive to another connection",
                           405);
    return found->second;
}

Broker::ExchangeState& Broker::exchange(std::string_view name) {
    const auto found = exchanges_.find(name);
    if (found == exchanges_.end()) throw_not_found("exchange", name);
    return found->second;
}

void Broker::exchange_declare(const Exchange& wanted) {
    std::lock_guard lock{mutex_};
    const auto found = exchanges_.find(wanted.name());
    if (found == exchanges_.end()) {
        if (wanted.options().passive) throw_not_found("exchange", wanted.name());
        if (!routing::is_exchange_type(wanted.type()))
            throw_precondition_failed("unknown exchange type '" + wanted.type() + "'");
        exchanges_.emplace(wanted.name(), ExchangeState{wanted, routing::Bindings{wanted.type()}});
    } else if (!wanted.options().passive) {
        routing::check_equivalent(found->second.declared, wanted);
    }
}

void Broker::exchange_delete(std::string_view name, bool if_unused) {
    std::lock_guard lock{mutex_};
    const auto found = exchanges_.find(name);
    if (found == exchanges_.end()) return;
    if (name.starts_with("amq."))
        throw ChannelError("ACCESS_REFUSED - exchange '" + std::string{name} + "' cannot be deleted", 403);
    if (if_unused && !found->second.bindings.empty())
        throw_precondition_failed("exchange '" + std::string{name} + "' is in use");
    exchanges_.erase(found);
}

QueueInfo Broker::queue_declare(const Queue& wanted, const Client& client) {
    std::lock_guard lock{mutex_};
    move_due_messages();
    const std::string name =
        wanted.name().empty() ? "amq.gen-" + std::to_string(++last_generated_name_) : wanted.name();
    if (!queues_.contains(name)) {
        if (wanted.options().passive) throw_not_found("queue", name);
        queues_.emplace(name, QueueState{wanted, wanted.exclusive() ? &client : nullptr});
    }
    const QueueState& state = queue(name, client);
    if (!wanted.options().passive) routing::check_equivalent(state.declared, wanted);
    return {name, static_cast<std::uint32_t>(state.messages.size()),
            static_cast<std::uint32_t>(state.waiters.size() + state.consumers.size())};
}

void Broker::queue_bind(std::string_view queue_name, std::string_view exchange_name, std::string_view routing_key,
                        const Json& arguments, const Client& client) {
    std::lock_guard lock{mutex_};
    queue(queue_name, client);
    exchange(exchange_name).bindings.bind({std::string{queue_name}, std::string{routing_key}, arguments});
}

void Broker::queue_unbind(std::string_view queue_name, std::string_view exchange_name, std::string_view routing_key,
                          const Json& arguments, const Client& client) {
    std::lock_guard lock{mutex_};
    queue(queue_name, client);
    ExchangeState& from = exchange(exchange_name);
    const bool removed = from.bindings.unbind({std::string{queue_name}, std::string{routing_key}, arguments});
    if (removed && from.bindings.empty() && from.declared.auto_delete())
        exchanges_.erase(exchanges_.find(exchange_name));
}

std::uint32_t Broker::queue_purge(std::string_view name, const Client& client) {
    std::deque<QueuedMessage> purged;  // destroyed after the mutex is released
    std::lock_guard lock{mutex_};
    purged.swap(queue(name, client).messages);
    return static_cast<std::uint32_t>(purged.size());
}

std::uint32_t Broker::queue_delete(std::string_view name, bool if_unused, bool if_empty, const Client& client) {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find(name);
    if (found == queues_.end()) return 0;
    const QueueState& state = queue(name, client);
    const auto count = static_cast<std::uint32_t>(state.messages.size());
    if (if_empty && count != 0) throw_precondition_failed("queue '" + std::string{name} + "' is not empty");
    if (if_unused && !(state.waiters.empty() && state.consumers.empty()))
        throw_precondition_failed("queue '" + std::string{name} + "' is in use");
    erase_queue(found);
    return count;
}

void Broker::erase_queue(std::map<std::string, QueueState, std::less<>>::iterator found) {
    for (Consumer* consumer : found->second.consumers) push_event(*consumer, std::nullopt);
    for (Waiter* waiter : found->second.waiters) {
        waiter->queue_deleted = true;
        waiter->is_waiting = false;
        waiter->waker.wake();
    }
    for (auto it = exchanges_.begin(); it != exchanges_.end();) {
        const bool had_bindings = !it->second.bindings.empty();
        it->second.bindings.remove_queue(found->first);
        const bool is_auto_deleted = had_bindings && it->second.bindings.empty() && it->second.declared.auto_delete();
        it = is_auto_deleted ? exchanges_.erase(it) : std::next(it);
    }
    queues_.erase(found);
}

void Broker::deliver(QueueState& queue, QueuedMessage message) {
    Waiter* const waiter = queue.waiters.front();
    queue.waiters.pop_front();
    waiter->message = std::move(message);
    waiter->is_waiting = false;
    waiter->waker.wake();
}

void Broker::append(QueueState& queue, QueuedMessage message) {
    message.position = queue.next_position++;
    if (!queue.waiters.empty()) return deliver(queue, std::move(message));
    queue.messages.push_back(std::move(message));
    deliver_waiting_messages(queue);
}

bool Broker::has_single_consumer(const QueueState& queue) {
    const Json& arguments = queue.declared.declare_arguments();
    const auto single = arguments.find("x-single-active-consumer");
    return single != arguments.end() && *single == true;
}

Consumer* Broker::next_consumer(QueueState& queue) {
    if (has_single_consumer(queue)) return queue.consumers.front()->has_capacity() ? queue.consumers.front() : nullptr;
    Consumer* best = nullptr;
    for (Consumer* consumer : queue.consumers)
        if (consumer->has_capacity() && (!best || consumer->priority > best->priority)) best = consumer;
    return best;
}

void Broker::push_event(Consumer& consumer, std::optional<ReservedMessage> message) {
    if (message) ++consumer.unsettled;
    consumer.inbox->push_back({consumer.tag, std::move(message)});
    ++consumer.client->events;
    if (consumer.client->waker) consumer.client->waker->wake();
}

void Broker::deliver_waiting_messages(QueueState& queue) {
    while (!queue.messages.empty() && !queue.consumers.empty()) {
        Consumer* const consumer = next_consumer(queue);
        if (!consumer) return;
        push_event(*consumer, ReservedMessage{consumer->queue, std::move(queue.messages.front())});
        queue.messages.pop_front();
        if (has_single_consumer(queue)) continue;
        // Its next turn comes after all others.
        const auto position = std::ranges::find(queue.consumers, consumer);
        queue.consumers.splice(queue.consumers.end(), queue.consumers, position);
    }
}

void Broker::add_consumer(Consumer& consumer) {
    std::lock_guard lock{mutex_};
    QueueState& from = queue(consumer.queue, *consumer.client);
    const bool is_refused = std::ranges::any_of(
        from.consumers, [&](const Consumer* other) { return consumer.exclusive || other->exclusive; });
    if (is_refused) throw ChannelError("ACCESS_REFUSED - queue '" + consumer.queue + "' in exclusive use", 403);
    from.consumers.push_back(&consumer);
    deliver_waiting_messages(from);
}

void Broker::remove_consumer(Consumer& consumer) {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find(consumer.queue);
    if (found == queues_.end() || std::erase(found->second.consumers, &consumer) == 0) return;
    if (found->second.consumers.empty() && found->second.declared.auto_delete()) return erase_queue(found);
    deliver_waiting_messages(found->second);
}

void Broker::give_back(Client& client, const std::vector<Consumer*>& consumers, std::vector<ReservedMessage> messages,
                       std::deque<InboxEvent>& inbox) {
    std::lock_guard lock{mutex_};
    client.events -= inbox.size();
    for (InboxEvent& event : inbox)
        if (event.message) messages.push_back(std::move(*event.message));
    inbox.clear();
    for (Consumer* consumer : consumers)
        if (const auto found = queues_.find(consumer->queue); found != queues_.end())
            std::erase(found->second.consumers, consumer);
    for (ReservedMessage& message : messages) {
        const auto found = queues_.find(message.queue);
        if (found == queues_.end()) continue;
        message.message.redelivered = true;
        insert(found->second, std::move(message.message));
    }
    const auto serve = [&](const std::string& name) {
        const auto found = queues_.find(name);
        if (found == queues_.end()) return;
        while (!found->second.messages.empty() && !found->second.waiters.empty()) {
            deliver(found->second, std::move(found->second.messages.front()));
            found->second.messages.pop_front();
        }
        deliver_waiting_messages(found->second);
    };
    for (const ReservedMessage& message : messages) serve(message.queue);
    for (Consumer* consumer : consumers) {
        const auto found = queues_.find(consumer->queue);
        if (found != queues_.end() && found->second.consumers.empty() && found->second.declared.auto_delete())
            erase_queue(found);
        else
            serve(consumer->queue);
    }
}

void Broker::insert(QueueState& queue, QueuedMessage message) {
    const auto position = std::find_if(queue.messages.begin(), queue.messages.end(),
                                       [&](const QueuedMessage& other) { return other.position > message.position; });
    queue.messages.insert(position, std::move(message));
}

void Broker::on_settled(Consumer& consumer) {
    std::lock_guard lock{mutex_};
    --consumer.unsettled;
    const auto found = queues_.find(consumer.queue);
    if (found != queues_.end()) deliver_waiting_messages(found->second);
}

std::optional<InboxEvent> Broker::take_event(Client& client, std::deque<InboxEvent>& inbox) {
    std::lock_guard lock{mutex_};
    if (inbox.empty()) return std::nullopt;
    std::optional<InboxEvent> event{std::move(inbox.front())};
    inbox.pop_front();
    --client.events;
    return event;
}

bool Broker::has_event(const std::deque<InboxEvent>& inbox) {
    std::lock_guard lock{mutex_};
    return !inbox.empty();
}

async::Operation<> Broker::await_events(Client& client, Deadline until) {
    struct Registration {
        Broker& broker;
        Client& client;
        ~Registration() {
            if (client.is_inherited()) return;
            std::lock_guard lock{broker.mutex_};
            client.waker = nullptr;
        }
    };
    async::Waker& waker = co_await async::this_waker;
    const Registration registration{*this, client};
    Deadline next = until;
    {
        std::lock_guard lock{mutex_};
        client.check();
        move_due_messages();
        if (client.events != 0 || until.expired()) co_return;
        client.waker = &waker;
        next = std::min(until, next_due());
    }
    co_await async::Wait{.signal = true, .until = next};
    client.check();
    std::lock_guard lock{mutex_};
    move_due_messages();
}

std::size_t Broker::publish(std::shared_ptr<const OutgoingMessage> message) {
    std::lock_guard lock{mutex_};
    const MessageMetadata& head = *message->metadata;
    if (head.exchange.empty()) {
        const auto found = queues_.find(head.routing_key);
        if (found == queues_.end()) return 0;
        append(found->second, {message});
        return 1;
    }
    const auto names = exchange(head.exchange).bindings.route(head.routing_key, head.properties.headers);
    for (const std::string& name : names) append(queues_.find(name)->second, {message});
    return names.size();
}

void Broker::publish_at(Clock::time_point when, std::string queue, std::shared_ptr<const OutgoingMessage> message) {
    std::lock_guard lock{mutex_};
    const auto added = delayed_.emplace(Deadline::at(when), DelayedMessage{std::move(queue), std::move(message)});
    if (added != delayed_.begin()) return;
    // Those who wait must wait for less long.
    for (auto& [name, state] : queues_) {
        for (Waiter* waiter : state.waiters) waiter->waker.wake();
        for (Consumer* consumer : state.consumers)
            if (consumer->client->waker) consumer->client->waker->wake();
    }
}

void Broker::move_due_messages() {
    while (!delayed_.empty() && delayed_.begin()->first.expired()) {
        const auto due = delayed_.extract(delayed_.begin());
        const auto found = queues_.find(due.mapped().queue);
        if (found != queues_.end()) append(found->second, {due.mapped().content});
    }
}

void Client::check() const {
    if (is_inherited()) throw ConnectionError("the connection belongs to the process that forked this one");
    if (interrupted) throw ConnectionError("the connection was interrupted");
}

Broker::Waiter::~Waiter() {
    if (client.is_inherited()) return;
    std::unique_lock lock{broker.mutex_};
    if (is_waiting) std::erase(broker.queues_.find(queue)->second.waiters, this);
    lock.unlock();
    if (message) broker.requeue({queue, std::move(*message)});
}

async::Operation<std::optional<ReservedMessage>> Broker::reserve(std::string name, const Client& client,
                                                                 Deadline deadline) {
    Waiter waiter{*this, name, client, co_await async::this_waker};
    std::optional<ReservedMessage> reserved;
    {
        std::lock_guard lock{mutex_};
        move_due_messages();
        QueueState& from = queue(name, client);
        if (!from.messages.empty()) {
            reserved = ReservedMessage{name, std::move(from.messages.front())};
            from.messages.pop_front();
        }
        if (reserved || deadline.expired()) co_return reserved;
        client.check();  // interrupt() wakes only those who wait already
        from.waiters.push_back(&waiter);
        waiter.is_waiting = true;
    }
    for (;;) {
        Deadline next = deadline;
        {
            std::lock_guard lock{mutex_};
            next = std::min(deadline, next_due());
        }
        co_await async::Wait{.signal = true, .until = next};
        client.check();
        std::lock_guard lock{mutex_};
        move_due_messages();
        if (waiter.queue_deleted) throw_not_found("queue", name);
        if (waiter.message) reserved = ReservedMessage{name, *std::exchange(waiter.message, std::nullopt)};
        if (reserved || deadline.expired()) co_return reserved;
    }
}

void Broker::requeue(ReservedMessage reserved) {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find(reserved.queue);
    if (found == queues_.end()) return;
    QueueState& queue = found->second;
    reserved.message.redelivered = true;
    if (!queue.waiters.empty()) return deliver(queue, std::move(reserved.message));
    insert(queue, std::move(reserved.message));
    deliver_waiting_messages(queue);
}

void Broker::interrupt(const Client& client) {
    std::lock_guard lock{mutex_};
    if (client.waker) client.waker->wake();
    for (auto& [name, queue] : queues_)
        for (Waiter* waiter : queue.waiters)
            if (&waiter->client == &client) waiter->waker.wake();
}

void Broker::disconnect(const Client& client) {
    std::lock_guard lock{mutex_};
    for (auto it = queues_.begin(); it != queues_.end();) {
        const auto next = std::next(it);
        if (it->second.owner == &client) erase_queue(it);
        it = next;
    }
}

}  // namespace kombu::memory
