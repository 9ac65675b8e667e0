// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"
#include "amqp/rpc.hpp"

namespace kombu::amqp {
namespace {

void check_unsettled(const ChannelState& channel, std::uint64_t delivery_tag) {
    if (!channel.unsettled.contains(delivery_tag))
        throw ChannelError("the message was delivered again: it can no longer be settled", 406);
}

}  // namespace

void acknowledge(Session& session, ChannelState& channel, std::uint64_t delivery_tag) {
    acknowledge_later(session, channel, delivery_tag);
    send_acknowledgements(session, channel);
}

void acknowledge_later(Session& session, ChannelState& channel, std::uint64_t delivery_tag) {
    check_usable(session, channel);
    check_unsettled(channel, delivery_tag);
    channel.unsettled.acknowledge(delivery_tag);
}

void acknowledge_until(Session& session, ChannelState& channel, std::uint64_t delivery_tag) {
    check_usable(session, channel);
    check_unsettled(channel, delivery_tag);
    channel.unsettled.acknowledge_until(delivery_tag);
}

void send_acknowledgements(Session& session, ChannelState& channel) {
    if (!channel.is_open()) return;
    for (const Unsettled::Ack& ack : channel.unsettled.take_acknowledged()) {
        amqp_basic_ack_t fields{ack.tag, ack.multiple};
        session.send(channel.number(), AMQP_BASIC_ACK_METHOD, &fields);
    }
}

void reject(Session& session, ChannelState& channel, std::uint64_t delivery_tag, bool requeue) {
    check_usable(session, channel);
    check_unsettled(channel, delivery_tag);
    amqp_basic_reject_t reject{delivery_tag, requeue};
    session.send(channel.number(), AMQP_BASIC_REJECT_METHOD, &reject);
    channel.unsettled.remove(delivery_tag);
}

async::Operation<> recover(Session& session, Channel channel) {
    check_usable(session, *channel);
    send_acknowledgements(session, *channel);
    amqp_basic_recover_t recover{1};
    session.send(channel->number(), AMQP_BASIC_RECOVER_METHOD, &recover);
    // They come again with other tags.
    channel->unsettled.clear();
    channel->deliveries.clear();
    co_await await_reply(session, channel, AMQP_BASIC_RECOVER_OK_METHOD);
}

}  // namespace kombu::amqp
