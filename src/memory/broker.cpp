// SPDX-License-Identifier: BSD-3-Clause
#include "memory/broker.hpp"

#include <kombu/error.hpp>

#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace kombu::memory {
using routing::throw_not_found;
using routing::throw_precondition_failed;

Broker::Broker() {
    for (const char* type : {"direct", "topic", "fanout", "headers"}) {
        const std::string name = std::string{"amq."} + type;
        exchanges_.emplace(name, ExchangeState{Exchange{name, type}});
    }
    exchanges_.emplace("amq.match", ExchangeState{Exchange{"amq.match", "headers"}});
}

MessageQueue* Broker::find_queue(std::string_view name) {
    const auto found = queues_.find(name);
    return found == queues_.end() ? nullptr : &found->second;
}

MessageQueue* Broker::find_queue(std::string_view name, std::uint64_t id) {
    MessageQueue* const found = find_queue(name);
    return found && found->id() == id ? found : nullptr;
}

MessageQueue& Broker::queue(std::string_view name, const Client& client) {
    MessageQueue* const found = find_queue(name);
    if (!found) throw_not_found("queue", name);
    if (found->owner() && found->owner() != &client)
        throw ChannelError("RESOURCE_LOCKED - queue '" + std::string{name} + "' is exclusive to another connection",
                           405);
    return *found;
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
        exchanges_.emplace(wanted.name(), ExchangeState{wanted});
        ++topology_;
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
    if (if_unused && found->second.is_used())
        throw_precondition_failed("exchange '" + std::string{name} + "' is in use");
    erase_exchange(found->first);
}

void Broker::erase_exchange(std::string name) {
    ++topology_;
    exchanges_.erase(name);
    for (auto it = exchanges_.begin(); it != exchanges_.end();) {
        const auto current = it++;
        // The deletion of one more would make the iterator invalid: the loop begins again.
        if (!current->second.exchanges.remove_destination(name) || !current->second.declared.auto_delete() ||
            current->second.is_used())
            continue;
        erase_exchange(current->first);
        it = exchanges_.begin();
    }
}

void Broker::on_unbound(Exchanges::iterator found) {
    if (found->second.declared.auto_delete() && !found->second.is_used()) erase_exchange(found->first);
}

void Broker::exchange_bind(std::string_view destination, std::string_view source, std::string_view routing_key,
                           const Json& arguments) {
    std::lock_guard lock{mutex_};
    exchange(destination);
    ++topology_;
    exchange(source).exchanges.bind({std::string{destination}, std::string{routing_key}, arguments});
}

void Broker::exchange_unbind(std::string_view destination, std::string_view source, std::string_view routing_key,
                             const Json& arguments) {
    std::lock_guard lock{mutex_};
    exchange(destination);
    ++topology_;
    ExchangeState& from = exchange(source);
    if (from.exchanges.unbind({std::string{destination}, std::string{routing_key}, arguments}))
        on_unbound(exchanges_.find(source));
}

QueueInfo Broker::queue_declare(const Queue& wanted, const Client& client) {
    std::lock_guard lock{mutex_};
    upkeep();
    const std::string name =
        wanted.name().empty() ? "amq.gen-" + std::to_string(++last_generated_name_) : wanted.name();
    if (!queues_.contains(name)) {
        if (wanted.options().passive) throw_not_found("queue", name);
        queues_.emplace(name, MessageQueue{name, ++last_queue_id_, wanted, wanted.exclusive() ? &client : nullptr});
        ++topology_;
    }
    MessageQueue& state = queue(name, client);
    if (!wanted.options().passive) routing::check_equivalent(state.declared(), wanted);
    state.touch();
    after_change(state);
    return {name, static_cast<std::uint32_t>(state.ready()), static_cast<std::uint32_t>(state.consumer_count())};
}

void Broker::queue_bind(std::string_view queue_name, std::string_view exchange_name, std::string_view routing_key,
                        const Json& arguments, const Client& client) {
    std::lock_guard lock{mutex_};
    queue(queue_name, client);
    ++topology_;
    exchange(exchange_name).queues.bind({std::string{queue_name}, std::string{routing_key}, arguments});
}

void Broker::queue_unbind(std::string_view queue_name, std::string_view exchange_name, std::string_view routing_key,
                          const Json& arguments, const Client& client) {
    std::lock_guard lock{mutex_};
    queue(queue_name, client);
    ++topology_;
    ExchangeState& from = exchange(exchange_name);
    if (from.queues.unbind({std::string{queue_name}, std::string{routing_key}, arguments}))
        on_unbound(exchanges_.find(exchange_name));
}

std::uint32_t Broker::queue_purge(std::string_view name, const Client& client) {
    std::vector<QueuedMessage> purged;  // destroyed after the mutex is released
    std::lock_guard lock{mutex_};
    upkeep();
    MessageQueue& from = queue(name, client);
    purged = from.purge();
    after_change(from);
    return static_cast<std::uint32_t>(purged.size());
}

std::uint32_t Broker::queue_delete(std::string_view name, bool if_unused, bool if_empty, const Client& client) {
    std::lock_guard lock{mutex_};
    upkeep();
    const auto found = queues_.find(name);
    if (found == queues_.end()) return 0;
    const MessageQueue& state = queue(name, client);
    const auto count = static_cast<std::uint32_t>(state.ready());
    if (if_empty && count != 0) throw_precondition_failed("queue '" + std::string{name} + "' is not empty");
    if (if_unused && state.consumer_count() != 0)
        throw_precondition_failed("queue '" + std::string{name} + "' is in use");
    erase_queue(found);
    return count;
}

void Broker::erase_queue(Queues::iterator found) {
    ++topology_;
    found->second.notify_deleted();
    std::vector<std::string> unbound;
    for (auto& [name, state] : exchanges_)
        if (state.queues.remove_destination(found->first) && state.declared.auto_delete() && !state.is_used())
            unbound.push_back(name);
    queues_.erase(found);
    for (std::string& name : unbound) erase_exchange(std::move(name));
}

void Broker::add_consumer(Consumer& consumer) {
    std::lock_guard lock{mutex_};
    upkeep();
    MessageQueue& from = queue(consumer.queue, *consumer.client);
    if (from.has_exclusive_consumer() || (consumer.exclusive && from.consumer_count() != 0))
        throw ChannelError("ACCESS_REFUSED - queue '" + consumer.queue + "' in exclusive use", 403);
    from.add_consumer(consumer);
    after_change(from);
}

void Broker::remove_consumer(Consumer& consumer) {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find(consumer.queue);
    if (found == queues_.end() || !found->second.remove_consumer(consumer)) return;
    MessageQueue& queue = found->second;
    if (queue.consumer_count() == 0 && queue.declared().auto_delete()) return erase_queue(found);
    queue.serve();
    after_change(queue);
}

void Broker::give_back(Client& client, const std::vector<Consumer*>& consumers, std::vector<ReservedMessage> messages,
                       std::deque<InboxEvent>& inbox) {
    std::lock_guard lock{mutex_};
    client.events -= inbox.size();
    for (InboxEvent& event : inbox)
        if (event.message) messages.push_back(std::move(*event.message));
    inbox.clear();
    std::set<std::string> queues;
    for (Consumer* consumer : consumers) {
        MessageQueue* const from = find_queue(consumer->queue);
        if (from && from->remove_consumer(*consumer)) queues.insert(consumer->queue);
    }
    std::map<std::pair<std::string, std::uint64_t>, std::vector<QueuedMessage>> by_queue;
    for (ReservedMessage& message : messages)
        by_queue[{message.queue, message.queue_id}].push_back(std::move(message.message));
    for (auto& [queue, returned] : by_queue)
        if (MessageQueue* const to = find_queue(queue.first, queue.second)) {
            to->requeue(std::move(returned));
            after_change(*to);
        }
    for (const std::string& name : queues) {
        const auto found = queues_.find(name);
        if (found == queues_.end()) continue;
        MessageQueue& queue = found->second;
        if (queue.consumer_count() == 0 && queue.declared().auto_delete()) {
            erase_queue(found);
            continue;
        }
        queue.serve();
        after_change(queue);
    }
}

void Broker::on_settled(Consumer& consumer) {
    std::lock_guard lock{mutex_};
    --consumer.unsettled;
    MessageQueue* const from = find_queue(consumer.queue, consumer.queue_id);
    if (!from) return;
    from->serve();
    after_change(*from);
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
        upkeep();
        if (client.events != 0 || until.expired()) co_return;
        client.waker = &waker;
        next = std::min(until, Deadline::at(next_due()));
    }
    co_await async::Wait{.signal = true, .until = next};
    client.check();
    std::lock_guard lock{mutex_};
    upkeep();
}

std::vector<std::string> Broker::route(const MessageMetadata& message) const {
    if (message.exchange.empty()) {
        if (!queues_.contains(message.routing_key)) return {};
        return {message.routing_key};
    }
    std::vector<std::string> queues, pending{message.exchange};
    std::set<std::string> seen{message.exchange};
    while (!pending.empty()) {
        const auto found = exchanges_.find(pending.back());
        pending.pop_back();
        if (found == exchanges_.end()) continue;
        const ExchangeState& state = found->second;
        std::vector<std::string> reached = state.queues.route(message.routing_key, message.properties.headers);
        std::vector<std::string> next = state.exchanges.route(message.routing_key, message.properties.headers);
        if (reached.empty() && next.empty()) {
            const Json& arguments = state.declared.options().arguments;
            const auto alternate = arguments.find("alternate-exchange");
            if (alternate != arguments.end() && alternate->is_string()) next.push_back(*alternate);
        }
        for (std::string& queue : reached)
            if (std::ranges::find(queues, queue) == queues.end()) queues.push_back(std::move(queue));
        for (std::string& exchange : next)
            if (seen.insert(exchange).second) pending.push_back(std::move(exchange));
    }
    return queues;
}

bool Broker::append(MessageQueue& queue, std::shared_ptr<const OutgoingMessage> message) {
    if (queue.refuses_publishing()) {
        if (queue.policy().overflow == QueuePolicy::Overflow::reject_publish_dlx)
            publish_dead(queue, {DeadMessage{{.content = std::move(message)}, DeathReason::maxlen}});
        return false;
    }
    queue.append(std::move(message));
    after_change(queue);
    return true;
}

void Broker::after_change(MessageQueue& queue) {
    note_due(queue.next_expiry());
    if (auto dead = queue.take_dead(); !dead.empty()) publish_dead(queue, std::move(dead));
}

void Broker::publish_dead(const MessageQueue& from, std::vector<DeadMessage> dead) {
    struct Letter {
        std::shared_ptr<const OutgoingMessage> content;
        DeathReason reason;
    };
    std::deque<Letter> letters;
    const auto write = [&](const MessageQueue& queue, const std::vector<DeadMessage>& messages) {
        if (!queue.policy().dead_letter_exchange) return;
        for (const DeadMessage& message : messages)
            letters.push_back({make_dead_letter(message, queue.name(), queue.policy()), message.reason});
    };
    write(from, dead);
    // A letter may make others leave its queue: they follow it here, since a recursion might be deep.
    while (!letters.empty()) {
        const Letter letter = std::move(letters.front());
        letters.pop_front();
        for (const std::string& name : route(*letter.content->metadata)) {
            MessageQueue* const to = find_queue(name);
            if (!to || is_cycle(*letter.content, name, letter.reason)) continue;
            if (to->refuses_publishing()) {
                if (to->policy().overflow == QueuePolicy::Overflow::reject_publish_dlx)
                    write(*to, {DeadMessage{{.content = letter.content}, DeathReason::maxlen}});
                continue;
            }
            to->append(letter.content);
            write(*to, to->take_dead());
            note_due(to->next_expiry());
        }
    }
}

Broker::PublishResult Broker::publish(std::shared_ptr<const OutgoingMessage> message, Route& last) {
    std::lock_guard lock{mutex_};
    upkeep();
    if (last.metadata != message->metadata || last.topology != topology_) {
        const MessageMetadata& head = *message->metadata;
        if (!head.exchange.empty()) exchange(head.exchange);
        Route found{.metadata = message->metadata, .topology = topology_};
        for (const std::string& name : route(head)) found.queues.push_back(find_queue(name));
        last = std::move(found);
    }
    PublishResult result{last.queues.size()};
    for (MessageQueue* const to : last.queues)
        if (!append(*to, message)) result.refused = true;
    return result;
}

void Broker::publish_at(Clock::time_point when, std::string queue, std::shared_ptr<const OutgoingMessage> message) {
    std::lock_guard lock{mutex_};
    note_due(when);
    delayed_.emplace(when, DelayedMessage{std::move(queue), std::move(message)});
}

Clock::time_point Broker::next_due() const noexcept {
    return delayed_.empty() ? next_expiry_ : std::min(next_expiry_, delayed_.begin()->first);
}

void Broker::note_due(Clock::time_point when) {
    if (when >= next_due()) return;
    next_expiry_ = when;
    for (auto& [name, queue] : queues_) queue.wake_all();
}

void Broker::upkeep() {
    if (next_due() == Clock::time_point::max()) return;
    const Clock::time_point now = Clock::now();
    if (now < next_due()) return;
    while (!delayed_.empty() && delayed_.begin()->first <= now) {
        auto due = delayed_.extract(delayed_.begin());
        if (MessageQueue* const to = find_queue(due.mapped().queue)) append(*to, std::move(due.mapped().content));
    }
    // Dead letters go to other queues, which may be behind this one already: their time is noted.
    next_expiry_ = Clock::time_point::max();
    std::vector<std::string> unused;
    auto next = Clock::time_point::max();
    for (auto& [name, queue] : queues_) {
        if (queue.is_expired(now)) {
            unused.push_back(name);
            continue;
        }
        queue.expire();
        if (auto dead = queue.take_dead(); !dead.empty()) publish_dead(queue, std::move(dead));
        next = std::min(next, queue.next_expiry());
    }
    next_expiry_ = std::min(next_expiry_, next);
    for (const std::string& name : unused) erase_queue(queues_.find(name));
}

Broker::Waiter::~Waiter() {
    if (entry.client.is_inherited()) return;
    std::unique_lock lock{broker.mutex_};
    if (entry.is_waiting) {
        MessageQueue& from = *broker.find_queue(queue);
        from.remove_waiter(entry);
        broker.note_due(from.next_expiry());
    }
    lock.unlock();
    if (entry.message) broker.requeue({queue, queue_id, std::move(*entry.message)});
}

async::Operation<std::optional<ReservedMessage>> Broker::reserve(std::string name, const Client& client,
                                                                 Deadline deadline) {
    Waiter waiter{*this, name, 0, {client, co_await async::this_waker}};
    std::optional<ReservedMessage> reserved;
    {
        std::lock_guard lock{mutex_};
        upkeep();
        MessageQueue& from = queue(name, client);
        if (auto message = from.take()) reserved = ReservedMessage{name, from.id(), std::move(*message)};
        from.touch();
        after_change(from);
        if (reserved || deadline.expired()) co_return reserved;
        client.check();  // interrupt() wakes only those who wait already
        waiter.queue_id = from.id();
        from.add_waiter(waiter.entry);
    }
    for (;;) {
        Deadline next = deadline;
        {
            std::lock_guard lock{mutex_};
            next = std::min(deadline, Deadline::at(next_due()));
        }
        co_await async::Wait{.signal = true, .until = next};
        client.check();
        std::lock_guard lock{mutex_};
        upkeep();
        if (waiter.entry.queue_deleted) throw_not_found("queue", name);
        if (waiter.entry.message)
            reserved = ReservedMessage{name, waiter.queue_id, *std::exchange(waiter.entry.message, std::nullopt)};
        if (reserved || deadline.expired()) co_return reserved;
    }
}

void Broker::requeue(ReservedMessage reserved) {
    std::lock_guard lock{mutex_};
    MessageQueue* const to = find_queue(reserved.queue, reserved.queue_id);
    if (!to) return;
    std::vector<QueuedMessage> messages;
    messages.push_back(std::move(reserved.message));
    to->requeue(std::move(messages));
    after_change(*to);
}

void Broker::reject(ReservedMessage reserved) {
    std::lock_guard lock{mutex_};
    const MessageQueue* const from = find_queue(reserved.queue, reserved.queue_id);
    if (!from || !from->policy().dead_letter_exchange) return;
    std::vector<DeadMessage> dead;
    dead.push_back({std::move(reserved.message), DeathReason::rejected});
    publish_dead(*from, std::move(dead));
}

void Broker::interrupt(const Client& client) {
    std::lock_guard lock{mutex_};
    if (client.waker) client.waker->wake();
    for (auto& [name, queue] : queues_) queue.wake(client);
}

void Broker::disconnect(const Client& client) {
    std::lock_guard lock{mutex_};
    std::vector<std::string> owned;
    for (auto& [name, queue] : queues_)
        if (queue.owner() == &client) owned.push_back(name);
    for (const std::string& name : owned) erase_queue(queues_.find(name));
}

}  // namespace kombu::memory
