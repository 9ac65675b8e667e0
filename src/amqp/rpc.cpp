// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/rpc.hpp"

#include <kombu/error.hpp>

#include <utility>

namespace kombu::amqp {

async::Operation<ReceivedMethod> await_reply(Session& session, Channel channel, amqp_method_number_t expected,
                                             amqp_method_number_t alternative, Deadline deadline) {
    for (;;) {
        session.check();
        if (!channel->replies.empty()) {
            ReceivedMethod reply = std::move(channel->replies.front());
            channel->replies.pop_front();
            if (reply.method == AMQP_BASIC_CANCEL_OK_METHOD && expected != AMQP_BASIC_CANCEL_OK_METHOD) {
                --channel->pending_cancels;  // of a consumer whose cancel-ok is no longer awaited
                continue;
            }
            if (reply.method != expected && reply.method != alternative)
                throw ConnectionError(session.peer() + ": the broker sent an unexpected reply", 503, false);
            co_return reply;
        }
        channel->check();
        const bool in_time = co_await async::AwaitInput{deadline};
        if (!in_time) throw Timeout(session.peer() + ": no answer in time");
    }
}

void check_usable(Session& session, const ChannelState& channel) {
    session.check();
    channel.check();
}

}  // namespace kombu::amqp
