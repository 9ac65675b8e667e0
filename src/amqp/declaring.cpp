// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/rpc.hpp"
#include "amqp/table.hpp"

#include <utility>

namespace kombu::amqp {

async::Operation<> open_channel(Session& session, Channel channel, bool confirms) {
    session.check();
    amqp_channel_open_t open{};
    session.send(channel->number(), AMQP_CHANNEL_OPEN_METHOD, &open);
    if (confirms) {
        // Pipelined: one round trip for both.
        amqp_confirm_select_t select{};
        session.send(channel->number(), AMQP_CONFIRM_SELECT_METHOD, &select);
    }
    co_await await_reply(session, channel, AMQP_CHANNEL_OPEN_OK_METHOD);
    if (confirms) co_await await_reply(session, channel, AMQP_CONFIRM_SELECT_OK_METHOD);
    channel->phase = ChannelState::Phase::open;
    channel->has_confirms = confirms;
}

async::Operation<> select_confirms(Session& session, Channel channel) {
    check_usable(session, *channel);
    amqp_confirm_select_t select{};
    session.send(channel->number(), AMQP_CONFIRM_SELECT_METHOD, &select);
    co_await await_reply(session, channel, AMQP_CONFIRM_SELECT_OK_METHOD);
    channel->has_confirms = true;
}

void close_channel_nowait(Session& session, ChannelState& channel) {
    if (channel.phase == ChannelState::Phase::closed || channel.phase == ChannelState::Phase::closing) return;
    amqp_channel_close_t close{200, bytes("Normal shutdown"), 0, 0};
    session.send(channel.number(), AMQP_CHANNEL_CLOSE_METHOD, &close);
    channel.phase = ChannelState::Phase::closing;
    channel.unsettled.clear();
}

async::Operation<> close_channel(Session& session, Channel channel) {
    session.check();
    close_channel_nowait(session, *channel);
    while (channel->phase != ChannelState::Phase::closed) {
        co_await async::AwaitInput{};
        session.check();
    }
}

async::Operation<> declare_exchange(Session& session, Channel channel, Exchange exchange) {
    check_usable(session, *channel);
    TableEncoder tables;
    amqp_exchange_declare_t declare{0,
                                    bytes(exchange.name()),
                                    bytes(exchange.type()),
                                    exchange.options().passive,
                                    exchange.durable(),
                                    exchange.auto_delete(),
                                    0,
                                    0,
                                    tables.encode(exchange.options().arguments, "exchange arguments")};
    session.send(channel->number(), AMQP_EXCHANGE_DECLARE_METHOD, &declare);
    co_await await_reply(session, channel, AMQP_EXCHANGE_DECLARE_OK_METHOD);
}

async::Operation<> delete_exchange(Session& session, Channel channel, std::string name, bool if_unused) {
    check_usable(session, *channel);
    amqp_exchange_delete_t erase{0, bytes(name), if_unused, 0};
    session.send(channel->number(), AMQP_EXCHANGE_DELETE_METHOD, &erase);
    co_await await_reply(session, channel, AMQP_EXCHANGE_DELETE_OK_METHOD);
}

async::Operation<QueueInfo> declare_queue(Session& session, Channel channel, Queue queue) {
    check_usable(session, *channel);
    TableEncoder tables;
    amqp_queue_declare_t declare{0,
                                 bytes(queue.name()),
                                 queue.options().passive,
                                 queue.durable(),
                                 queue.exclusive(),
                                 queue.auto_delete(),
                                 0,
                                 tables.encode(queue.declare_arguments(), "queue_arguments")};
    session.send(channel->number(), AMQP_QUEUE_DECLARE_METHOD, &declare);
    const ReceivedMethod reply = co_await await_reply(session, channel, AMQP_QUEUE_DECLARE_OK_METHOD);
    const DecodedMethod method{reply.payload, session.decode_memory()};
    const auto& ok = method.as<amqp_queue_declare_ok_t>();
    QueueInfo info{std::string{view(ok.queue)}, ok.message_count, ok.consumer_count};
    co_return info;
}

async::Operation<> bind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                              std::string routing_key, Json arguments) {
    check_usable(session, *channel);
    TableEncoder tables;
    amqp_queue_bind_t bind{
        0, bytes(queue), bytes(exchange), bytes(routing_key), 0, tables.encode(arguments, "binding arguments")};
    session.send(channel->number(), AMQP_QUEUE_BIND_METHOD, &bind);
    co_await await_reply(session, channel, AMQP_QUEUE_BIND_OK_METHOD);
}

async::Operation<> unbind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                                std::string routing_key, Json arguments) {
    check_usable(session, *channel);
    TableEncoder tables;
    amqp_queue_unbind_t unbind{0, bytes(queue), bytes(exchange), bytes(routing_key),
                               tables.encode(arguments, "binding arguments")};
    session.send(channel->number(), AMQP_QUEUE_UNBIND_METHOD, &unbind);
    co_await await_reply(session, channel, AMQP_QUEUE_UNBIND_OK_METHOD);
}

async::Operation<> bind_exchange(Session& session, Channel channel, std::string destination, std::string source,
                                 std::string routing_key, Json arguments) {
    check_usable(session, *channel);
    TableEncoder tables;
    amqp_exchange_bind_t bind{
        0, bytes(destination), bytes(source), bytes(routing_key), 0, tables.encode(arguments, "binding arguments")};
    session.send(channel->number(), AMQP_EXCHANGE_BIND_METHOD, &bind);
    co_await await_reply(session, channel, AMQP_EXCHANGE_BIND_OK_METHOD);
}

async::Operation<> unbind_exchange(Session& session, Channel channel, std::string destination, std::string source,
                                   std::string routing_key, Json arguments) {
    check_usable(session, *channel);
    TableEncoder tables;
    amqp_exchange_unbind_t unbind{
        0, bytes(destination), bytes(source), bytes(routing_key), 0, tables.encode(arguments, "binding arguments")};
    session.send(channel->number(), AMQP_EXCHANGE_UNBIND_METHOD, &unbind);
    co_await await_reply(session, channel, AMQP_EXCHANGE_UNBIND_OK_METHOD);
}

async::Operation<std::uint32_t> purge_queue(Session& session, Channel channel, std::string name) {
    check_usable(session, *channel);
    amqp_queue_purge_t purge{0, bytes(name), 0};
    session.send(channel->number(), AMQP_QUEUE_PURGE_METHOD, &purge);
    const ReceivedMethod reply = co_await await_reply(session, channel, AMQP_QUEUE_PURGE_OK_METHOD);
    const DecodedMethod method{reply.payload, session.decode_memory()};
    co_return method.as<amqp_queue_purge_ok_t>().message_count;
}

async::Operation<std::uint32_t> delete_queue(Session& session, Channel channel, std::string name, bool if_unused,
                                             bool if_empty) {
    check_usable(session, *channel);
    amqp_queue_delete_t erase{0, bytes(name), if_unused, if_empty, 0};
    session.send(channel->number(), AMQP_QUEUE_DELETE_METHOD, &erase);
    const ReceivedMethod reply = co_await await_reply(session, channel, AMQP_QUEUE_DELETE_OK_METHOD);
    const DecodedMethod method{reply.payload, session.decode_memory()};
    co_return method.as<amqp_queue_delete_ok_t>().message_count;
}

}  // namespace kombu::amqp
