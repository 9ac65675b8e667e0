#include "amqp/rpc.hpp"

#include <kombu/error.hpp>

#include <utility>

namespace kombu::amqp {

async::Operation<Received> answer(Session& session, Channel channel, amqp_method_number_t expected,
                                  amqp_method_number_t or_else, Deadline by) {
    for (;;) {
        session.check();
        if (!channel->replies.empty()) {
            Received reply = std::move(channel->replies.front());
            channel->replies.pop_front();
            if (reply.method == AMQP_BASIC_CANCEL_OK_METHOD && expected != AMQP_BASIC_CANCEL_OK_METHOD) {
                --channel->cancels_under_way;  // of a consumer that is no longer waited for
                continue;
            }
            if (reply.method != expected && reply.method != or_else)
                throw ConnectionError(session.peer() + ": the broker answered something else than was asked", 503,
                                      false);
            co_return reply;
        }
        channel->check();
        const bool in_time = co_await async::AwaitInput{by};
        if (!in_time) throw Timeout(session.peer() + ": no answer in time");
    }
}

void ready(Session& session, const ChannelState& channel) {
    session.check();
    channel.check();
}

}  // namespace kombu::amqp
