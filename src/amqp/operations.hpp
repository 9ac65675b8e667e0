#pragma once

#include <kombu/channel.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/json.hpp>
#include <kombu/message.hpp>
#include <kombu/transport.hpp>

#include <kombu/operation.hpp>
#include "amqp/session.hpp"

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>

/// What can be asked of an AMQP broker, each written once and without I/O. Arguments are taken by value, since an
/// operation outlives the call that made it; the session and the channel must live as long as it does.
namespace kombu::amqp {

using Channel = std::shared_ptr<ChannelState>;

/// From the protocol header to connection.open-ok. `heartbeat`: what this side wants, zero for none; the broker may
/// want them more often.
async::Operation<> log_in(Session& session, std::string userid, std::string password, std::string virtual_host,
                          std::chrono::seconds heartbeat = {});
async::Operation<> close_connection(Session& session);

/// `confirms`: ask for publisher confirms on the new channel.
async::Operation<> open_channel(Session& session, Channel channel, bool confirms);
async::Operation<> close_channel(Session& session, Channel channel);
/// Asks for the close; the session ignores what still comes.
void close_channel_nowait(Session& session, ChannelState& channel);

async::Operation<> declare_exchange(Session& session, Channel channel, Exchange exchange);
async::Operation<> delete_exchange(Session& session, Channel channel, std::string name, bool if_unused);
async::Operation<QueueInfo> declare_queue(Session& session, Channel channel, Queue queue);
async::Operation<> bind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                              std::string routing_key, Json arguments);
async::Operation<> unbind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                                std::string routing_key, Json arguments);
async::Operation<std::uint32_t> purge_queue(Session& session, Channel channel, std::string name);
async::Operation<std::uint32_t> delete_queue(Session& session, Channel channel, std::string name, bool if_unused,
                                             bool if_empty);

/// Puts a message into the session's output: nothing to wait for.
void publish(Session& session, ChannelState& channel, const OutgoingMessage& message);
/// Waits until the broker takes messages again. Throws Timeout when `until` passes; nothing was sent then.
async::Operation<> await_unblocked(Session& session, Deadline until);
/// Waits until the broker has confirmed message `number`. Throws Nacked, Unroutable, and Timeout when `until` passes.
async::Operation<> await_confirm(Session& session, Channel channel, std::uint64_t number, Deadline until);
/// The same for many, in their order, which was that of publishing. `results` has a place for each number, with an
/// error for what is not known yet; null is put there for what was confirmed, and what was refused. Throws only what
/// leaves the others unknown.
async::Operation<> await_confirms(Session& session, Channel channel, std::span<const std::uint64_t> numbers,
                                  std::span<std::exception_ptr> results, Deadline until);

async::Operation<std::optional<Delivery>> get(Session& session, Channel channel, std::string queue, bool no_ack);
/// Waits for a message until `until`, by a consumer of its own. Nothing when none came.
async::Operation<std::optional<Delivery>> wait_for_message(Session& session, Channel channel, Queue queue, bool no_ack,
                                                           Deadline until);
/// Settlements need no answer.
void acknowledge(Session& session, ChannelState& channel, std::uint64_t delivery_tag);
void reject(Session& session, ChannelState& channel, std::uint64_t delivery_tag, bool requeue);

}  // namespace kombu::amqp
