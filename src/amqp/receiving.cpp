// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/rpc.hpp"
#include "net/round_trip.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu::amqp {

namespace {

/// How long to wait for basic.cancel-ok, beside the measured round trips. A message that arrives after the wait is
/// requeued.
constexpr std::chrono::milliseconds cancel_grace{50};
/// How often an auto-delete queue is polled, which would be deleted with a temporary consumer.
constexpr std::chrono::milliseconds poll_interval{20};

/// Fetches a message that is in the queue now.
async::Operation<std::unique_ptr<Delivery>> get_until(Session& session, Channel channel, std::string queue, bool no_ack,
                                                      Deadline deadline) {
    check_usable(session, *channel);
    amqp_basic_get_t fetch{0, bytes(queue), no_ack};
    session.send(channel->number(), AMQP_BASIC_GET_METHOD, &fetch);
    ReceivedMethod reply =
        co_await await_reply(session, channel, AMQP_BASIC_GET_OK_METHOD, AMQP_BASIC_GET_EMPTY_METHOD, deadline);
    std::unique_ptr<Delivery> delivery;
    if (reply.method == AMQP_BASIC_GET_OK_METHOD) {
        delivery = std::move(reply.delivery);
        if (!no_ack) record_delivery(session, *channel, delivery->info.delivery_tag);
    }
    co_return delivery;
}

/// Polls instead of consuming, for a queue that is deleted with its last consumer.
async::Operation<std::unique_ptr<Delivery>> poll_for_message(Session& session, Channel channel, std::string queue,
                                                             bool no_ack, Deadline until) {
    std::unique_ptr<Delivery> delivery;
    while (!delivery && !until.expired()) {
        const Deadline next_poll = std::min(until, Deadline::after(poll_interval));
        while (!next_poll.expired()) {
            check_usable(session, *channel);
            co_await async::AwaitInput{next_poll};
        }
        delivery = co_await get_until(session, channel, queue, no_ack, net::allow_round_trip(until));
    }
    co_return delivery;
}

/// Cancels a consumer. Waits for basic.cancel-ok only until `deadline`: a message that is still in flight then is
/// requeued when it arrives, and until cancel-ok arrives the channel counts as having an unsettled message.
async::Operation<> cancel_consumer(Session& session, Channel channel, std::string tag, Deadline deadline) {
    amqp_basic_cancel_t cancel{bytes(tag), 0};
    session.send(channel->number(), AMQP_BASIC_CANCEL_METHOD, &cancel);
    ++channel->pending_cancels;
    for (;;) {
        check_usable(session, *channel);
        while (!channel->replies.empty() && channel->replies.front().method == AMQP_BASIC_CANCEL_OK_METHOD) {
            channel->replies.pop_front();
            --channel->pending_cancels;
        }
        if (channel->pending_cancels == 0) break;
        const bool in_time = co_await async::AwaitInput{deadline};
        if (!in_time) break;
    }
    channel->consumers.erase(tag);
}

}  // namespace

void record_delivery(const Session& session, ChannelState& channel, std::uint64_t tag) {
    if (!channel.unsettled.on_delivered(tag))
        throw ConnectionError(session.peer() + ": the broker sent a delivery tag out of order", 503, false);
}

async::Operation<std::unique_ptr<Delivery>> get(Session& session, Channel channel, std::string queue, bool no_ack) {
    return get_until(session, std::move(channel), std::move(queue), no_ack, Deadline::never());
}

async::Operation<std::unique_ptr<Delivery>> wait_for_message(Session& session, Channel channel, Queue queue,
                                                             bool no_ack, Deadline until) {
    const auto requested_at = Clock::now();
    const Deadline replies_due = net::allow_round_trip(until);
    std::unique_ptr<Delivery> delivery = co_await get_until(session, channel, queue.name(), no_ack, replies_due);
    if (delivery || until.expired()) co_return delivery;
    const auto measured_round_trip = Clock::now() - requested_at;
    if (queue.auto_delete()) {
        delivery = co_await poll_for_message(session, channel, queue.name(), no_ack, until);
        co_return delivery;
    }

    // Prefetch one message at most, so that none is withheld from other consumers.
    amqp_basic_qos_t qos{0, 1, 0};
    session.send(channel->number(), AMQP_BASIC_QOS_METHOD, &qos);
    const std::string tag = "kombu-cpp." + std::to_string(++channel->last_consumer);
    channel->consumers.insert(tag);  // before the request: the first message may arrive with the reply
    amqp_basic_consume_t consume{};
    consume.queue = bytes(queue.name());
    consume.consumer_tag = bytes(tag);
    session.send(channel->number(), AMQP_BASIC_CONSUME_METHOD, &consume);
    co_await await_reply(session, channel, AMQP_BASIC_QOS_OK_METHOD, 0, replies_due);
    co_await await_reply(session, channel, AMQP_BASIC_CONSUME_OK_METHOD, 0, replies_due);

    bool in_time = true;
    while (in_time && channel->deliveries.empty() && channel->consumers.contains(tag)) {
        in_time = co_await async::AwaitInput{until};
        check_usable(session, *channel);
    }
    const bool queue_deleted = !channel->consumers.contains(tag);
    const auto cancel_timeout =
        std::min<std::chrono::nanoseconds>(cancel_grace + 4 * measured_round_trip, net::max_round_trip);
    if (!queue_deleted) co_await cancel_consumer(session, channel, tag, Deadline::after(cancel_timeout));

    if (!channel->deliveries.empty()) {
        delivery = std::move(channel->deliveries.front().delivery);
        channel->deliveries.pop_front();
        record_delivery(session, *channel, delivery->info.delivery_tag);
        if (no_ack) acknowledge(session, *channel, delivery->info.delivery_tag);
    }
    if (!delivery && queue_deleted) {
        close_channel_nowait(session, *channel);
        throw ChannelError("NOT_FOUND - the queue '" + queue.name() + "' was deleted during the wait", 404);
    }
    co_return delivery;
}

}  // namespace kombu::amqp
