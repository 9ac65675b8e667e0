#include "memory/broker.hpp"

#include <kombu/error.hpp>

#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <utility>

namespace kombu::memory {
using routing::not_found;
using routing::precondition_failed;

Broker::Broker() {
    for (const char* type : {"direct", "topic", "fanout", "headers"}) {
        const std::string name = std::string{"amq."} + type;
        exchanges_.emplace(name, ExchangeState{Exchange{name, type}, routing::Bindings{type}});
    }
    exchanges_.emplace("amq.match", ExchangeState{Exchange{"amq.match", "headers"}, routing::Bindings{"headers"}});
}

Broker::QueueState& Broker::queue(std::string_view name, const Client& client) {
    const auto found = queues_.find(name);
    if (found == queues_.end()) not_found("queue", name);
    if (found->second.owner && found->second.owner != &client)
        throw ChannelError("RESOURCE_LOCKED - queue '" + std::string{name} + "' is exclusive to another connection",
                           405);
    return found->second;
}

Broker::ExchangeState& Broker::exchange(std::string_view name) {
    const auto found = exchanges_.find(name);
    if (found == exchanges_.end()) not_found("exchange", name);
    return found->second;
}

void Broker::exchange_declare(const Exchange& wanted) {
    std::lock_guard lock{mutex_};
    const auto found = exchanges_.find(wanted.name());
    if (found == exchanges_.end()) {
        if (wanted.options().passive) not_found("exchange", wanted.name());
        if (!routing::is_exchange_type(wanted.type()))
            precondition_failed("unknown exchange type '" + wanted.type() + "'");
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
        precondition_failed("exchange '" + std::string{name} + "' is in use");
    exchanges_.erase(found);
}

QueueInfo Broker::queue_declare(const Queue& wanted, const Client& client) {
    std::lock_guard lock{mutex_};
    const std::string name = wanted.name().empty() ? "amq.gen-" + std::to_string(++names_) : wanted.name();
    if (!queues_.contains(name)) {
        if (wanted.options().passive) not_found("queue", name);
        queues_.emplace(name, QueueState{wanted, wanted.exclusive() ? &client : nullptr});
    }
    const QueueState& state = queue(name, client);
    if (!wanted.options().passive) routing::check_equivalent(state.declared, wanted);
    return {name, static_cast<std::uint32_t>(state.messages.size()), static_cast<std::uint32_t>(state.waiters.size())};
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
    std::deque<Stored> gone;  // destroyed without the lock
    std::lock_guard lock{mutex_};
    gone.swap(queue(name, client).messages);
    return static_cast<std::uint32_t>(gone.size());
}

std::uint32_t Broker::queue_delete(std::string_view name, bool if_unused, bool if_empty, const Client& client) {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find(name);
    if (found == queues_.end()) return 0;
    const QueueState& state = queue(name, client);
    const auto count = static_cast<std::uint32_t>(state.messages.size());
    if (if_empty && count != 0) precondition_failed("queue '" + std::string{name} + "' is not empty");
    if (if_unused && !state.waiters.empty()) precondition_failed("queue '" + std::string{name} + "' is in use");
    erase_queue(found);
    return count;
}

void Broker::erase_queue(std::map<std::string, QueueState, std::less<>>::iterator found) {
    for (Waiter* waiter : found->second.waiters) {
        waiter->queue_deleted = true;
        waiter->waits = false;
        waiter->waker.wake();
    }
    for (auto at = exchanges_.begin(); at != exchanges_.end();) {
        const bool had = !at->second.bindings.empty();
        at->second.bindings.remove_queue(found->first);
        const bool vanishes = had && at->second.bindings.empty() && at->second.declared.auto_delete();
        at = vanishes ? exchanges_.erase(at) : std::next(at);
    }
    queues_.erase(found);
}

void Broker::hand_over(QueueState& queue, Stored message) {
    Waiter* const waiter = queue.waiters.front();
    queue.waiters.pop_front();
    waiter->message = std::move(message);
    waiter->waits = false;
    waiter->waker.wake();
}

void Broker::append(QueueState& queue, Stored message) {
    message.position = queue.next_position++;
    if (!queue.waiters.empty()) return hand_over(queue, std::move(message));
    queue.messages.push_back(std::move(message));
}

std::size_t Broker::publish(std::shared_ptr<const OutgoingMessage> message) {
    std::lock_guard lock{mutex_};
    const MessageHead& head = *message->head;
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

void Client::check() const {
    if (is_inherited()) throw ConnectionError("the connection belongs to the process that forked this one");
    if (interrupted) throw ConnectionError("the connection was interrupted");
}

Broker::Waiter::~Waiter() {
    if (client.is_inherited()) return;
    std::unique_lock lock{broker.mutex_};
    if (waits) std::erase(broker.queues_.find(queue)->second.waiters, this);
    lock.unlock();
    if (message) broker.give_back({queue, std::move(*message)});
}

async::Operation<std::optional<Taken>> Broker::take(std::string name, const Client& client, Deadline deadline) {
    Waiter waiter{*this, name, client, co_await async::this_waker};
    std::optional<Taken> taken;
    {
        std::lock_guard lock{mutex_};
        QueueState& from = queue(name, client);
        if (!from.messages.empty()) {
            taken = Taken{name, std::move(from.messages.front())};
            from.messages.pop_front();
        }
        if (taken || deadline.expired()) co_return taken;
        from.waiters.push_back(&waiter);
        waiter.waits = true;
    }
    for (;;) {
        co_await async::Wait{.signal = true, .until = deadline};
        client.check();
        std::lock_guard lock{mutex_};
        if (waiter.queue_deleted) not_found("queue", name);
        if (waiter.message) taken = Taken{name, *std::exchange(waiter.message, std::nullopt)};
        if (taken || deadline.expired()) co_return taken;
    }
}

void Broker::give_back(Taken taken) {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find(taken.queue);
    if (found == queues_.end()) return;
    QueueState& queue = found->second;
    taken.message.redelivered = true;
    if (!queue.waiters.empty()) return hand_over(queue, std::move(taken.message));
    const auto place = std::find_if(queue.messages.begin(), queue.messages.end(),
                                    [&](const Stored& other) { return other.position > taken.message.position; });
    queue.messages.insert(place, std::move(taken.message));
}

void Broker::interrupt(const Client& client) {
    std::lock_guard lock{mutex_};
    for (auto& [name, queue] : queues_)
        for (Waiter* waiter : queue.waiters)
            if (&waiter->client == &client) waiter->waker.wake();
}

void Broker::forget(const Client& client) {
    std::lock_guard lock{mutex_};
    for (auto at = queues_.begin(); at != queues_.end();) {
        const auto next = std::next(at);
        if (at->second.owner == &client) erase_queue(at);
        at = next;
    }
}

}  // namespace kombu::memory
