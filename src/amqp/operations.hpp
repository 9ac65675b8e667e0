// SPDX-License-Identifier: BSD-3-Clause
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

/// The requests to an AMQP broker, as operations without I/O. Arguments are taken by value, since an operation outlives
/// the call that creates it. The session must outlive the operation; the operation keeps its channel alive.
namespace kombu::amqp {

using Channel = std::shared_ptr<ChannelState>;

/// Who logs in, where, and how: PLAIN, AMQPLAIN, or EXTERNAL by the client certificate.
struct Login {
    std::string method = "PLAIN";
    std::string userid{};
    std::string password{};
    std::string virtual_host{};
};

/// Logs in, from the protocol header to connection.open-ok. `heartbeat` is the interval that this side wants, zero for
/// none; the negotiated interval may be shorter. Throws AuthenticationError when the broker refuses the user.
async::Operation<> log_in(Session& session, Login login, std::chrono::seconds heartbeat = {});
async::Operation<> close_connection(Session& session);

/// Opens a channel, with publisher confirms if `confirms` is set.
async::Operation<> open_channel(Session& session, Channel channel, bool confirms);
async::Operation<> select_confirms(Session& session, Channel channel);
async::Operation<> close_channel(Session& session, Channel channel);
/// Sends channel.close and does not wait. The session ignores later frames of the channel.
void close_channel_nowait(Session& session, ChannelState& channel);

async::Operation<> declare_exchange(Session& session, Channel channel, Exchange exchange);
async::Operation<> delete_exchange(Session& session, Channel channel, std::string name, bool if_unused);
async::Operation<QueueInfo> declare_queue(Session& session, Channel channel, Queue queue);
async::Operation<> bind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                              std::string routing_key, Json arguments);
async::Operation<> unbind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                                std::string routing_key, Json arguments);
async::Operation<> bind_exchange(Session& session, Channel channel, std::string destination, std::string source,
                                 std::string routing_key, Json arguments);
async::Operation<> unbind_exchange(Session& session, Channel channel, std::string destination, std::string source,
                                   std::string routing_key, Json arguments);
async::Operation<std::uint32_t> purge_queue(Session& session, Channel channel, std::string name);
async::Operation<std::uint32_t> delete_queue(Session& session, Channel channel, std::string name, bool if_unused,
                                             bool if_empty);

/// Appends a message to the session's output. Does not wait.
void publish(Session& session, ChannelState& channel, const OutgoingMessage& message,
             Deadline deadline = Deadline::never());
/// The same without the body, whose frames the caller sends next.
BodyFrames publish_head(Session& session, ChannelState& channel, const OutgoingMessage& message);
/// Records that the message that was just published will be confirmed. Returns its sequence number.
std::uint64_t await_confirmation_of(ChannelState& channel, const OutgoingMessage& message);
/// Waits until the broker accepts messages again. Throws Timeout when `until` passes; nothing was sent then.
async::Operation<> await_unblocked(Session& session, Deadline until);
async::Operation<std::unique_ptr<Delivery>> get(Session& session, Channel channel, std::string queue, bool no_ack);
/// Waits for a message until `until`, with a temporary consumer. Returns nothing when no message arrived.
async::Operation<std::unique_ptr<Delivery>> wait_for_message(Session& session, Channel channel, Queue queue,
                                                             bool no_ack, Deadline until);
/// Records a delivery that must be settled. Throws ConnectionError for a tag that cannot be the next one.
void record_delivery(const Session& session, ChannelState& channel, std::uint64_t tag);

// -- consuming.cpp

async::Operation<> set_prefetch(Session& session, Channel channel, std::uint16_t count);
async::Operation<> consume(Session& session, Channel channel, std::string queue, ConsumeOptions options);
/// Ends when no more messages arrive.
async::Operation<> cancel(Session& session, Channel channel, std::string tag);
/// What has arrived for the consumers of the channel.
std::optional<ConsumerEvent> next_event(Session& session, ChannelState& channel);

// -- settling.cpp. Acknowledging and rejecting have no reply. They throw ChannelError for a delivery that was settled.

void acknowledge(Session& session, ChannelState& channel, std::uint64_t delivery_tag);
void acknowledge_later(Session& session, ChannelState& channel, std::uint64_t delivery_tag);
void acknowledge_until(Session& session, ChannelState& channel, std::uint64_t delivery_tag);
/// Sends what was acknowledged for later.
void send_acknowledgements(Session& session, ChannelState& channel);
void reject(Session& session, ChannelState& channel, std::uint64_t delivery_tag, bool requeue);
/// Lets the broker deliver again what is not settled.
async::Operation<> recover(Session& session, Channel channel);

}  // namespace kombu::amqp
