// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"
#include "amqp/rpc.hpp"
#include "amqp/table.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace kombu::amqp {

async::Operation<> set_prefetch(Session& session, Channel channel, std::uint16_t count) {
    check_usable(session, *channel);
    amqp_basic_qos_t qos{0, count, 0};
    session.send(channel->number(), AMQP_BASIC_QOS_METHOD, &qos);
    co_await await_reply(session, channel, AMQP_BASIC_QOS_OK_METHOD);
    channel->prefetch_count = count;
}

async::Operation<> consume(Session& session, Channel channel, std::string queue, ConsumeOptions options) {
    check_usable(session, *channel);
    Json arguments = std::move(options.arguments);
    if (options.priority) arguments["x-priority"] = *options.priority;
    TableEncoder tables;
    amqp_basic_consume_t consume{};
    consume.queue = bytes(queue);
    consume.consumer_tag = bytes(options.tag);
    consume.no_ack = options.no_ack;
    consume.exclusive = options.exclusive;
    consume.arguments = tables.encode(arguments, "arguments");
    channel->consumers.insert(options.tag);  // before the request: the first message may arrive with the reply
    if (options.no_ack) channel->no_ack_consumers.insert(options.tag);
    constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();
    if (options.no_ack || channel->prefetch_count == 0)
        channel->max_deliveries = unlimited;
    else if (channel->max_deliveries != unlimited)
        channel->max_deliveries += channel->prefetch_count;
    session.send(channel->number(), AMQP_BASIC_CONSUME_METHOD, &consume);
    co_await await_reply(session, channel, AMQP_BASIC_CONSUME_OK_METHOD);
}

async::Operation<> cancel(Session& session, Channel channel, std::string tag) {
    check_usable(session, *channel);
    amqp_basic_cancel_t cancel{bytes(tag), 0};
    session.send(channel->number(), AMQP_BASIC_CANCEL_METHOD, &cancel);
    // Until then messages arrive.
    co_await await_reply(session, channel, AMQP_BASIC_CANCEL_OK_METHOD);
    channel->consumers.erase(tag);
}

std::optional<ConsumerEvent> next_event(Session& session, ChannelState& channel) {
    if (!channel.deliveries.empty()) {
        ReceivedMethod message = std::move(channel.deliveries.front());
        channel.deliveries.pop_front();
        ConsumerEvent event{std::move(message.consumer_tag), std::move(message.delivery)};
        if (!channel.no_ack_consumers.contains(event.tag))
            record_delivery(session, channel, event.delivery->info.delivery_tag);
        return event;
    }
    if (channel.cancelled_consumers.empty()) return std::nullopt;
    ConsumerEvent event{std::move(channel.cancelled_consumers.front()), nullptr};
    channel.cancelled_consumers.pop_front();
    return event;
}

}  // namespace kombu::amqp
