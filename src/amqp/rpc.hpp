// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <kombu/operation.hpp>
#include "amqp/operations.hpp"
#include "amqp/session.hpp"

/// Helpers of all operations on a channel.
namespace kombu::amqp {

/// Awaits the next reply on a channel. Throws Timeout when `deadline` passes, ConnectionError when the reply is neither
/// `expected` nor `alternative`.
async::Operation<ReceivedMethod> await_reply(Session& session, Channel channel, amqp_method_number_t expected,
                                             amqp_method_number_t alternative = 0,
                                             Deadline deadline = Deadline::never());

/// Throws when the session has failed or the channel is closed.
void check_usable(Session& session, const ChannelState& channel);

}  // namespace kombu::amqp
