#pragma once

#include <kombu/deadline.hpp>

#include <kombu/operation.hpp>
#include "amqp/operations.hpp"
#include "amqp/session.hpp"

/// What all operations on a channel have in common.
namespace kombu::amqp {

/// The next answer of a channel, which must be one of `expected`. Throws Timeout when `by` passes.
async::Operation<Received> answer(Session& session, Channel channel, amqp_method_number_t expected,
                                  amqp_method_number_t or_else = 0, Deadline by = Deadline::never());

/// The channel is there to be used, or throws.
void ready(Session& session, const ChannelState& channel);

}  // namespace kombu::amqp
