#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/rpc.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu::amqp {

namespace {

/// How long a cancelled consumer may take to say so before we stop listening: beyond it, a message that is still on its
/// way is sent back when it arrives.
constexpr std::chrono::milliseconds cancel_grace{50};
/// What a broker that is well needs to answer, however far away.
constexpr std::chrono::seconds round_trip{1};
/// How often a queue is looked at that would vanish with a consumer.
constexpr std::chrono::milliseconds poll_interval{20};

Delivery delivery_of(Received message) {
    const DecodedMethod method{message.payload};
    DeliveryInfo info;
    const auto fill = [&](const auto& fields) {
        info = {fields.delivery_tag, fields.redelivered != 0, std::string{view(fields.exchange)},
                std::string{view(fields.routing_key)}};
    };
    if (message.method == AMQP_BASIC_DELIVER_METHOD)
        fill(method.as<amqp_basic_deliver_t>());
    else
        fill(method.as<amqp_basic_get_ok_t>());
    return {std::move(message.body), std::move(message.properties), std::move(info), std::move(message.header_error)};
}

/// When the broker must have answered something that is asked while waiting until `until`: it may take its round trip,
/// also when there is no time to wait for a message. Giving up earlier could lose the message in the answer.
Deadline answered_by(Deadline until) { return std::max(until, Deadline::after(round_trip)); }

/// A message that is there now.
async::Operation<std::optional<Delivery>> get_by(Session& session, Channel channel, std::string queue, bool no_ack,
                                                 Deadline by) {
    ready(session, *channel);
    amqp_basic_get_t fetch{0, bytes(queue), no_ack};
    session.send(channel->number(), AMQP_BASIC_GET_METHOD, &fetch);
    Received reply = co_await answer(session, channel, AMQP_BASIC_GET_OK_METHOD, AMQP_BASIC_GET_EMPTY_METHOD, by);
    std::optional<Delivery> delivery;
    if (reply.method == AMQP_BASIC_GET_OK_METHOD) {
        delivery = delivery_of(std::move(reply));
        if (!no_ack) channel->unsettled.insert(delivery->info.delivery_tag);
    }
    co_return delivery;
}

/// For a queue that vanishes with its last consumer: looks again and again instead of consuming.
async::Operation<std::optional<Delivery>> look_for_message(Session& session, Channel channel, std::string queue,
                                                           bool no_ack, Deadline until) {
    std::optional<Delivery> found;
    while (!found && !until.expired()) {
        const Deadline next = std::min(until, Deadline::after(poll_interval));
        while (!next.expired()) {
            ready(session, *channel);
            co_await async::AwaitInput{next};
        }
        found = co_await get_by(session, channel, queue, no_ack, answered_by(until));
    }
    co_return found;
}

/// Ends a consumer. Waits for the broker's word only for `patience`: a message that is still under way then is sent
/// back when it arrives, and until the word has come the channel counts as holding something.
async::Operation<> cancel(Session& session, Channel channel, std::string tag, Deadline patience) {
    amqp_basic_cancel_t cancel{bytes(tag), 0};
    session.send(channel->number(), AMQP_BASIC_CANCEL_METHOD, &cancel);
    ++channel->cancels_under_way;
    for (;;) {
        ready(session, *channel);
        while (!channel->replies.empty() && channel->replies.front().method == AMQP_BASIC_CANCEL_OK_METHOD) {
            channel->replies.pop_front();
            --channel->cancels_under_way;
        }
        if (channel->cancels_under_way == 0) break;
        const bool in_time = co_await async::AwaitInput{patience};
        if (!in_time) break;
    }
    channel->consumers.erase(tag);
}

}  // namespace

async::Operation<std::optional<Delivery>> get(Session& session, Channel channel, std::string queue, bool no_ack) {
    return get_by(session, std::move(channel), std::move(queue), no_ack, Deadline::never());
}

async::Operation<std::optional<Delivery>> wait_for_message(Session& session, Channel channel, Queue queue, bool no_ack,
                                                           Deadline until) {
    const auto asked = Clock::now();
    const Deadline answered = answered_by(until);
    std::optional<Delivery> delivery = co_await get_by(session, channel, queue.name(), no_ack, answered);
    if (delivery || until.expired()) co_return delivery;
    const auto trip = Clock::now() - asked;
    if (queue.auto_delete()) {
        delivery = co_await look_for_message(session, channel, queue.name(), no_ack, until);
        co_return delivery;
    }

    // One message at most is sent ahead, so that none is held back from others.
    amqp_basic_qos_t qos{0, 1, 0};
    session.send(channel->number(), AMQP_BASIC_QOS_METHOD, &qos);
    const std::string tag = "kombu-cpp." + std::to_string(++channel->last_consumer);
    channel->consumers.insert(tag);  // before it is asked for: the first message may come with the answer
    amqp_basic_consume_t consume{};
    consume.queue = bytes(queue.name());
    consume.consumer_tag = bytes(tag);
    session.send(channel->number(), AMQP_BASIC_CONSUME_METHOD, &consume);
    co_await answer(session, channel, AMQP_BASIC_QOS_OK_METHOD, 0, answered);
    co_await answer(session, channel, AMQP_BASIC_CONSUME_OK_METHOD, 0, answered);

    bool in_time = true;
    while (in_time && channel->deliveries.empty() && channel->consumers.contains(tag)) {
        in_time = co_await async::AwaitInput{until};
        ready(session, *channel);
    }
    const bool queue_deleted = !channel->consumers.contains(tag);
    const auto patience = std::min<std::chrono::nanoseconds>(cancel_grace + 4 * trip, round_trip);
    if (!queue_deleted) co_await cancel(session, channel, tag, Deadline::after(patience));

    if (!channel->deliveries.empty()) {
        delivery = delivery_of(std::move(channel->deliveries.front()));
        channel->deliveries.pop_front();
        channel->unsettled.insert(delivery->info.delivery_tag);
        if (no_ack) acknowledge(session, *channel, delivery->info.delivery_tag);
    }
    if (!delivery && queue_deleted) {
        close_channel_nowait(session, *channel);
        throw ChannelError("NOT_FOUND - the queue '" + queue.name() + "' was deleted while it was waited for", 404);
    }
    co_return delivery;
}

void acknowledge(Session& session, ChannelState& channel, std::uint64_t delivery_tag) {
    ready(session, channel);
    amqp_basic_ack_t ack{delivery_tag, 0};
    session.send(channel.number(), AMQP_BASIC_ACK_METHOD, &ack);
    channel.unsettled.erase(delivery_tag);
}

void reject(Session& session, ChannelState& channel, std::uint64_t delivery_tag, bool requeue) {
    ready(session, channel);
    amqp_basic_reject_t reject{delivery_tag, requeue};
    session.send(channel.number(), AMQP_BASIC_REJECT_METHOD, &reject);
    channel.unsettled.erase(delivery_tag);
}

}  // namespace kombu::amqp
