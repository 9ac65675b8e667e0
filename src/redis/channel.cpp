// SPDX-License-Identifier: BSD-3-Clause
#include "redis/channel.hpp"

#include <kombu/error.hpp>

#include "net/round_trip.hpp"
#include "redis/connection.hpp"

#include <algorithm>
#include <chrono>
#include <type_traits>

namespace kombu::redis {
namespace {

bool closes_channel(const ChannelError& error) {
    return !dynamic_cast<const Unroutable*>(&error) && !dynamic_cast<const OutOfMemoryError*>(&error) &&
           !dynamic_cast<const BusyError*>(&error);
}

}  // namespace

struct RedisChannel::CloseOnRefusal {
    RedisChannel& channel;
    void operator()(const ChannelError& error) const {
        if (closes_channel(error)) channel.close_nowait();
    }
};

RedisChannel::RedisChannel(std::shared_ptr<RedisConnection> connection) : connection_(std::move(connection)) {}

RedisChannel::~RedisChannel() {
    if (!close_called_) RedisChannel::close_nowait();
}

bool RedisChannel::is_open() const noexcept { return open_ && connection_->is_open(); }

void RedisChannel::check() const {
    connection_->check_open();
    if (!open_) throw ChannelError("the channel is closed; its unsettled messages were requeued");
}

template <class T>
async::Operation<T> RedisChannel::run_on_channel(async::Operation<T> operation, Deadline deadline) {
    check();
    return connection_->run(std::move(operation), deadline, CloseOnRefusal{*this});
}

async::Operation<> RedisChannel::close(Deadline deadline) {
    close_called_ = true;
    if (!is_open()) co_return;
    close_nowait();
    // Only the replies confirm that the unacknowledged messages were requeued.
    co_await connection_->run(drain_replies(connection_->context().session), deadline);
}

bool RedisChannel::close_nowait() noexcept try {
    close_called_ = true;
    if (!std::exchange(open_, false)) return connection_->is_open();
    if (!connection_->is_open()) return false;
    const net::SessionLock::Guard guard{connection_->session_lock()};
    send_acknowledgements();
    // The last one first, so that they are served in their original order.
    for (auto at = arrived_.rbegin(); at != arrived_.rend(); ++at) {
        connection_->held_messages().remove(at->message.unacked_tag);
        if (!at->message.source_list.empty()) requeue_message_nowait(connection_->context(), at->message);
    }
    for (auto at = unacked_.rbegin(); at != unacked_.rend(); ++at) {
        on_settled(at->second);
        if (!at->second.requeue_buffer) requeue_message_nowait(connection_->context(), at->second.message);
    }
    arrived_.clear();
    unacked_.clear();
    consumers_.clear();
    if (Subscriber* const subscriber = connection_->subscriber()) {
        for (auto& [queue, buffer] : fanout_buffers_) unsubscribe(subscriber->session, buffer);
        for (auto& [key, queue] : waited_queues_) {
            if (queue->is_announced) subscriber->session.withdraw(queue->waiting_channel);
            subscriber->session.unwatch(queue->lists);
        }
    }
    fanout_buffers_.clear();
    waited_queues_.clear();
    return connection_->try_send();
} catch (const std::exception&) {
    return false;
}

async::Operation<> RedisChannel::exchange_declare(const Exchange& exchange, Deadline deadline) {
    return run_on_channel(declare_exchange(connection_->context(), exchange), deadline);
}

async::Operation<> RedisChannel::exchange_delete(std::string_view name, bool if_unused, Deadline deadline) {
    return run_on_channel(delete_exchange(connection_->context(), std::string{name}, if_unused), deadline);
}

async::Operation<QueueInfo> RedisChannel::queue_declare(const Queue& queue, Deadline deadline) {
    return run_on_channel(declare_queue(connection_->context(), queue), deadline);
}

async::Operation<> RedisChannel::queue_bind(std::string_view queue, std::string_view exchange,
                                            std::string_view routing_key, const Json& arguments, Deadline deadline) {
    return run_on_channel(bind_queue(connection_->context(), std::string{queue}, std::string{exchange},
                                     std::string{routing_key}, arguments),
                          deadline);
}

async::Operation<> RedisChannel::queue_unbind(std::string_view queue, std::string_view exchange,
                                              std::string_view routing_key, const Json&, Deadline deadline) {
    return run_on_channel(
        unbind_queue(connection_->context(), std::string{queue}, std::string{exchange}, std::string{routing_key}),
        deadline);
}

async::Operation<> RedisChannel::exchange_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                               Deadline deadline) {
    return run_on_channel(refuse_exchange_binding(), deadline);
}

async::Operation<> RedisChannel::exchange_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                                 Deadline deadline) {
    return run_on_channel(refuse_exchange_binding(), deadline);
}

async::Operation<std::uint32_t> RedisChannel::queue_purge(std::string_view name, Deadline deadline) {
    return run_on_channel(purge_queue(connection_->context(), std::string{name}), deadline);
}

async::Operation<std::uint32_t> RedisChannel::queue_delete(std::string_view name, bool, bool if_empty,
                                                           Deadline deadline) {
    return run_on_channel(delete_queue(connection_->context(), std::string{name}, if_empty), deadline);
}

async::Operation<> RedisChannel::basic_publish(const OutgoingMessage& message, Deadline deadline,
                                               OptionalTimeout confirm_timeout) {
    const Deadline until =
        confirm_timeout.has_value() ? std::min(deadline, Deadline::after(confirm_timeout)) : deadline;
    SessionContext& context = connection_->context();
    if (auto route = open_ ? PlainPublish::find_route(context, route_cache_, message) : nullptr)
        if (auto request = connection_->try_begin_request())
            return connection_->run(PlainPublish{context, route_cache_, std::move(route), message, until}, until,
                                    std::move(*request), CloseOnRefusal{*this});
    return run_on_channel(publish(context, route_cache_, message, until), until);
}

async::Operation<std::vector<std::exception_ptr>> RedisChannel::basic_publish_all(
    std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout) {
    const auto unconfirmed = std::make_exception_ptr(ConnectionError("the message was not confirmed"));
    std::vector<std::exception_ptr> results(messages.size(), unconfirmed);
    std::exception_ptr failure;
    try {
        check();
        const Deadline confirm_deadline =
            confirm_timeout.has_value() ? std::min(deadline, Deadline::after(confirm_timeout)) : deadline;
        co_await connection_->run(
            publish_all(connection_->context(), route_cache_, messages, results, confirm_deadline), confirm_deadline);
    } catch (const OperationalError&) {
        failure = std::current_exception();
    }
    if (failure) std::replace(results.begin(), results.end(), unconfirmed, failure);
    co_return results;
}

SubscriptionBuffer* RedisChannel::fanout_buffer(std::string_view queue) {
    const DeclaredEntities::QueueRecord* const record = connection_->context().declared.queue(queue);
    return record && !record->fanout_bindings.empty() ? &fanout_buffers_[std::string{queue}] : nullptr;
}

async::Operation<> RedisChannel::prepare_to_receive(const Queue& queue, Deadline deadline) {
    check();
    if (fanout_buffer(queue.name())) co_await subscribe_to_exchanges(queue.name(), deadline);
}

/// Its errors close the channel, as those of run_on_channel() do.
async::Operation<> RedisChannel::subscribe_to_exchanges(std::string queue, Deadline deadline) {
    try {
        co_await connection_->open_subscriber(deadline);
        SubscriberSession& session = connection_->subscriber()->session;
        auto request = subscribe(connection_->context(), session, queue, fanout_buffers_[queue]);
        co_await connection_->run_on_subscriber(std::move(request), deadline);
    } catch (const ChannelError& error) {
        if (closes_channel(error)) close_nowait();
        throw;
    }
}

std::shared_ptr<WaitedQueue> RedisChannel::waited_queue(const std::string& name, bool track_unacked) {
    std::shared_ptr<WaitedQueue>& queue = waited_queues_[{name, track_unacked}];
    if (!queue) queue = std::make_shared<WaitedQueue>(connection_->context(), name, track_unacked);
    return queue;
}

std::unique_ptr<Delivery> RedisChannel::deliver(ReceivedMessage message, bool no_ack, SubscriptionBuffer* buffer,
                                                Consumer* consumer) {
    std::unique_ptr<Delivery> delivery = std::move(message.delivery);
    delivery->info.delivery_tag = ++last_delivery_tag_;
    SubscriptionBuffer* const requeue_buffer = message.source_list.empty() ? buffer : nullptr;
    if (!no_ack) unacked_.emplace(last_delivery_tag_, UnackedMessage{std::move(message), requeue_buffer, consumer});
    return delivery;
}

async::Operation<std::unique_ptr<Delivery>> RedisChannel::receive(std::string queue, bool no_ack, Deadline wait_until,
                                                                  Deadline deadline) {
    check();
    SubscriptionBuffer* const buffer = fanout_buffer(queue);
    if (buffer) co_await subscribe_to_exchanges(queue, deadline);
    if (buffer && wait_until.expired()) {
        // Whatever was published before precedes the reply.
        auto request = ping(connection_->subscriber()->session);
        co_await connection_->run_on_subscriber(std::move(request), deadline);
    }
    const auto waited = waited_queue(queue, !no_ack && connection_->context().options.ack_emulation);
    std::optional<ReceivedMessage> message;
    try {
        message = co_await redis::wait_for_message(*connection_, *waited, buffer, wait_until, deadline);
    } catch (const ChannelError& error) {
        if (closes_channel(error)) close_nowait();
        throw;
    }
    std::unique_ptr<Delivery> delivery;
    if (message) delivery = deliver(std::move(*message), no_ack, buffer);
    co_return delivery;
}

async::Operation<std::unique_ptr<Delivery>> RedisChannel::basic_get(std::string_view queue, bool no_ack,
                                                                    Deadline deadline) {
    return receive(std::string{queue}, no_ack, Deadline::at({}), deadline);
}

async::Operation<std::unique_ptr<Delivery>> RedisChannel::wait_for_message(const Queue& queue, bool no_ack,
                                                                           Deadline wait_until) {
    const Deadline deadline = wait_until.is_never()
                                  ? wait_until
                                  : Deadline::at(std::max(wait_until.when(), Clock::now()) + net::max_round_trip);
    return receive(queue.name(), no_ack, wait_until, deadline);
}

RedisChannel::UnackedMessage& RedisChannel::unacked_message(std::uint64_t delivery_tag) {
    check();
    const auto found = unacked_.find(delivery_tag);
    if (found != unacked_.end()) return found->second;
    close_nowait();
    throw ChannelError("PRECONDITION_FAILED - unknown delivery tag " + std::to_string(delivery_tag), 406);
}

async::Operation<> RedisChannel::basic_ack(std::uint64_t delivery_tag, Deadline deadline) {
    const UnackedMessage& unacked = unacked_message(delivery_tag);
    if (!unacked.message.unacked_tag.empty())
        co_await run_on_channel(acknowledge(connection_->context(), unacked.message.unacked_tag), deadline);
    on_settled(unacked);
    unacked_.erase(delivery_tag);
}

async::Operation<> RedisChannel::basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) {
    const UnackedMessage& unacked = unacked_message(delivery_tag);
    if (!requeue) {
        if (!unacked.message.unacked_tag.empty())
            co_await run_on_channel(acknowledge(connection_->context(), unacked.message.unacked_tag), deadline);
    } else if (unacked.requeue_buffer) {
        unacked.requeue_buffer->push_front(redelivered_envelope(unacked.message));
    } else {
        co_await run_on_channel(requeue_message(connection_->context(), unacked.message), deadline);
    }
    on_settled(unacked);
    unacked_.erase(delivery_tag);
}

}  // namespace kombu::redis
