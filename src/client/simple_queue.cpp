// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/error.hpp>
#include <kombu/simple_queue.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/declare.hpp"
#include "net/blocking_driver.hpp"
#include "net/round_trip.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu {
namespace {

/// Declares in every case, as Kombu does: the queue may have been deleted since this session declared it.
async::Operation<> declare_always(detail::ConnectionRef connection, Queue queue) {
    detail::ConnectionState& state = connection.checked();
    const detail::ConnectionState::OperationGuard guard{state};
    const Deadline deadline = state.deadline({});
    const auto channel = co_await state.default_channel(deadline);
    co_await declare(*channel, queue, deadline);
    co_await channel->prepare_to_receive(queue, deadline);
}

async::Operation<Message> get_message(detail::ConnectionRef connection, Queue queue, SimpleQueueOptions options,
                                      GetOptions get) {
    // RabbitMQ would close the connection (540).
    if (const auto type = queue.declare_arguments().find("x-queue-type");
        type != queue.declare_arguments().end() && *type == "stream")
        throw ConfigurationError("get: the queue " + queue.name() +
                                 " is a stream, whose messages cannot be taken one by one");
    detail::ConnectionState& state = connection.checked();
    const detail::ConnectionState::OperationGuard guard{state};
    const bool no_ack = options.no_ack.value_or(queue.options().no_ack);
    const Deadline wait_deadline = Deadline::after(get.timeout);
    const Deadline request_deadline = std::min(net::allow_round_trip(wait_deadline), state.deadline({}));
    const auto channel = co_await state.default_channel(request_deadline);
    std::unique_ptr<Delivery> delivery;
    if (get.block)
        delivery = co_await channel->wait_for_message(queue, no_ack, wait_deadline);
    else
        delivery = co_await channel->basic_get(queue.name(), no_ack, request_deadline);
    if (!delivery) throw Empty("the queue " + queue.name() + " is empty");
    co_return detail::ClientAccess::message(std::move(delivery), {connection, channel}, no_ack, options.accept);
}

}  // namespace

SimpleQueue::SimpleQueue(Connection& connection, Queue queue, SimpleQueueOptions options) {
    initialise(connection, std::move(queue), std::move(options));
    net::run(declare_always(connection_, queue_));
}

void SimpleQueue::initialise(Connection& connection, Queue queue, SimpleQueueOptions options) {
    if (queue.name().empty()) throw ConfigurationError("simple_queue: the queue needs a name");
    connection_ = detail::ConnectionRef{detail::ClientAccess::state(connection)};
    queue_ = std::move(queue);
    options_ = std::move(options);
    producer_ = Producer{connection,
                         {.exchange = queue_.exchange(),
                          .serializer = options_.serializer,
                          .auto_declare = false,
                          .compression = options_.compression}};
}

PublishOptions SimpleQueue::with_routing_key(PublishOptions options) const {
    if (!options.routing_key)
        options.routing_key = queue_.exchange().name().empty() ? queue_.name() : queue_.routing_key();
    // The queue may have been deleted. Without confirms the broker's answer would come too late. On Redis a fanout
    // queue exists only while it is consumed from.
    if (connection_.checked().config().parameters.confirm_publish() && queue_.exchange().type() != "fanout")
        options.mandatory = true;
    return options;
}

Message SimpleQueue::get(const GetOptions& options) { return net::run(async::Operations::get(*this, options)); }

std::uint32_t SimpleQueue::clear(OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.checked();
    const detail::ConnectionState::OperationGuard guard{connection};
    const Deadline deadline = connection.deadline(timeout);
    const auto channel = net::run(connection.default_channel(deadline));
    return net::run(channel->queue_purge(queue_.name(), deadline));
}

std::uint32_t SimpleQueue::qsize(OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.checked();
    const detail::ConnectionState::OperationGuard guard{connection};
    const Deadline deadline = connection.deadline(timeout);
    const Queue passive{queue_.name(), {}, {}, {.passive = true}};
    const auto channel = net::run(connection.default_channel(deadline));
    return net::run(channel->queue_declare(passive, deadline)).messages;
}

async::Operation<Message> async::Operations::get(SimpleQueue& queue, const GetOptions& options) {
    return get_message(queue.connection_, queue.queue_, queue.options_, options);
}

async::Operation<SimpleQueue> async::Operations::simple_queue(Connection& connection, const Queue& queue,
                                                              const SimpleQueueOptions& options) {
    SimpleQueue opened;
    opened.initialise(connection, queue, options);
    return [](SimpleQueue result) -> Operation<SimpleQueue> {
        co_await declare_always(result.connection_, result.queue_);
        co_return result;
    }(std::move(opened));
}

}  // namespace kombu
