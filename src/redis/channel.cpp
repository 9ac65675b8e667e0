#include "redis/channel.hpp"

#include <kombu/error.hpp>

#include "redis/connection.hpp"

#include <algorithm>
#include <chrono>
#include <type_traits>

namespace kombu::redis {
namespace {

/// What a server that is well needs to answer, however far away. Giving up earlier could leave a message with nobody
/// until its visibility timeout.
constexpr std::chrono::seconds round_trip{1};

bool costs_the_channel(const ChannelError& error) {
    return !dynamic_cast<const Unroutable*>(&error) && !dynamic_cast<const OutOfMemoryError*>(&error) &&
           !dynamic_cast<const BusyError*>(&error);
}

}  // namespace

RedisChannel::RedisChannel(std::shared_ptr<RedisConnection> connection) : connection_(std::move(connection)) {}

RedisChannel::~RedisChannel() {
    if (!ended_) RedisChannel::close_nowait();
}

bool RedisChannel::is_open() const noexcept { return open_ && connection_->is_open(); }

void RedisChannel::check() const {
    connection_->check_open();
    if (!open_) throw ChannelError("the channel is closed; what it had delivered and was not settled went back");
}

template <class T>
async::Operation<T> RedisChannel::guarded(async::Operation<T> operation, Deadline deadline) {
    check();
    try {
        co_return co_await connection_->run(std::move(operation), deadline);
    } catch (const ChannelError& error) {
        if (costs_the_channel(error)) close_nowait();
        throw;
    }
}

async::Operation<> RedisChannel::close(Deadline deadline) {
    ended_ = true;
    if (!is_open()) co_return;
    close_nowait();
    // Until it is answered nobody knows that what was held has gone back.
    co_await connection_->run(settle(connection_->link().session), deadline);
}

bool RedisChannel::close_nowait() noexcept try {
    ended_ = true;
    if (!std::exchange(open_, false)) return connection_->is_open();
    if (!connection_->is_open()) return false;
    // The last one first, so that they are served in their old order.
    for (auto at = held_.rbegin(); at != held_.rend(); ++at)
        if (!at->second.inbox) give_back_nowait(connection_->link(), at->second.taken);
    held_.clear();
    for (auto& [queue, inbox] : inboxes_) stop_listening(connection_->link(), inbox);
    inboxes_.clear();
    return connection_->try_send();
} catch (const std::exception&) {
    return false;
}

async::Operation<> RedisChannel::exchange_declare(const Exchange& exchange, Deadline deadline) {
    return guarded(declare_exchange(connection_->link(), exchange), deadline);
}

async::Operation<> RedisChannel::exchange_delete(std::string_view name, bool if_unused, Deadline deadline) {
    return guarded(delete_exchange(connection_->link(), std::string{name}, if_unused), deadline);
}

async::Operation<QueueInfo> RedisChannel::queue_declare(const Queue& queue, Deadline deadline) {
    return guarded(declare_queue(connection_->link(), queue), deadline);
}

async::Operation<> RedisChannel::queue_bind(std::string_view queue, std::string_view exchange,
                                            std::string_view routing_key, const Json& arguments, Deadline deadline) {
    return guarded(
        bind_queue(connection_->link(), std::string{queue}, std::string{exchange}, std::string{routing_key}, arguments),
        deadline);
}

async::Operation<> RedisChannel::queue_unbind(std::string_view queue, std::string_view exchange,
                                              std::string_view routing_key, const Json&, Deadline deadline) {
    return guarded(
        unbind_queue(connection_->link(), std::string{queue}, std::string{exchange}, std::string{routing_key}),
        deadline);
}

async::Operation<std::uint32_t> RedisChannel::queue_purge(std::string_view name, Deadline deadline) {
    return guarded(purge_queue(connection_->link(), std::string{name}), deadline);
}

async::Operation<std::uint32_t> RedisChannel::queue_delete(std::string_view name, bool, bool if_empty,
                                                           Deadline deadline) {
    return guarded(delete_queue(connection_->link(), std::string{name}, if_empty), deadline);
}

async::Operation<> RedisChannel::basic_publish(const OutgoingMessage& message, Deadline deadline,
                                               OptionalTimeout confirm_timeout) {
    return guarded(publish(connection_->link(), ways_, message),
                   confirm_timeout.has_value() ? std::min(deadline, Deadline::after(confirm_timeout)) : deadline);
}

async::Operation<std::vector<std::exception_ptr>> RedisChannel::basic_publish_all(
    std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout) {
    const auto unknown = std::make_exception_ptr(ConnectionError("the message was not confirmed"));
    std::vector<std::exception_ptr> results(messages.size(), unknown);
    std::exception_ptr broken;
    try {
        check();
        const Deadline by =
            confirm_timeout.has_value() ? std::min(deadline, Deadline::after(confirm_timeout)) : deadline;
        co_await connection_->run(publish_all(connection_->link(), ways_, messages, results), by);
    } catch (const OperationalError&) {
        broken = std::current_exception();
    }
    if (broken) std::replace(results.begin(), results.end(), unknown, broken);
    co_return results;
}

Inbox* RedisChannel::inbox_of(std::string_view queue) {
    const Declared::QueueRecord* const record = connection_->link().declared.queue(queue);
    return record && !record->fanouts.empty() ? &inboxes_[std::string{queue}] : nullptr;
}

async::Operation<> RedisChannel::prepare_to_receive(const Queue& queue, Deadline deadline) {
    check();
    if (Inbox* const inbox = inbox_of(queue.name()))
        co_await guarded(listen(connection_->link(), queue.name(), *inbox), deadline);
}

Delivery RedisChannel::hand_over(Taken taken, bool no_ack, Inbox* inbox) {
    Delivery delivery = std::move(taken.delivery);
    taken.delivery = {};
    delivery.info.delivery_tag = ++last_tag_;
    Inbox* const back_to = taken.list.empty() ? inbox : nullptr;
    if (!no_ack) held_.emplace(last_tag_, Held{std::move(taken), back_to});
    return delivery;
}

async::Operation<std::optional<Delivery>> RedisChannel::receive(std::string queue, bool no_ack, Deadline until,
                                                                Deadline deadline) {
    check();
    Link& link = connection_->link();
    Inbox* const inbox = inbox_of(queue);
    if (inbox) co_await guarded(listen(link, queue, *inbox), deadline);
    const bool record = !no_ack && link.options.ack_emulation;
    std::optional<Taken> taken =
        co_await guarded(redis::wait_for_message(link, std::move(queue), record, inbox, until), deadline);
    std::optional<Delivery> delivery;
    if (taken) delivery = hand_over(std::move(*taken), no_ack, inbox);
    co_return delivery;
}

async::Operation<std::optional<Delivery>> RedisChannel::basic_get(std::string_view queue, bool no_ack,
                                                                  Deadline deadline) {
    return receive(std::string{queue}, no_ack, Deadline::at({}), deadline);
}

async::Operation<std::optional<Delivery>> RedisChannel::wait_for_message(const Queue& queue, bool no_ack,
                                                                         Deadline wait_until) {
    const Deadline deadline =
        wait_until.is_never() ? wait_until : Deadline::at(std::max(wait_until.when(), Clock::now()) + round_trip);
    return receive(queue.name(), no_ack, wait_until, deadline);
}

RedisChannel::Held& RedisChannel::held(std::uint64_t delivery_tag) {
    check();
    const auto found = held_.find(delivery_tag);
    if (found != held_.end()) return found->second;
    close_nowait();
    throw ChannelError("PRECONDITION_FAILED - unknown delivery tag " + std::to_string(delivery_tag), 406);
}

async::Operation<> RedisChannel::basic_ack(std::uint64_t delivery_tag, Deadline deadline) {
    const Held& message = held(delivery_tag);
    if (!message.taken.tag.empty()) co_await guarded(acknowledge(connection_->link(), message.taken.tag), deadline);
    held_.erase(delivery_tag);
}

async::Operation<> RedisChannel::basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) {
    const Held& message = held(delivery_tag);
    if (!requeue) {
        if (!message.taken.tag.empty()) co_await guarded(acknowledge(connection_->link(), message.taken.tag), deadline);
    } else if (message.inbox) {
        message.inbox->put_back(redelivered(message.taken));
    } else {
        co_await guarded(give_back(connection_->link(), message.taken), deadline);
    }
    held_.erase(delivery_tag);
}

}  // namespace kombu::redis
