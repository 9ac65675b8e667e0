// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/rpc.hpp"

#include <optional>
#include <utility>

namespace kombu::amqp {

void publish(Session& session, ChannelState& channel, const OutgoingMessage& message, Deadline deadline) {
    check_usable(session, channel);
    std::string& output = session.output();
    const std::size_t size_before = output.size();
    try {
        session.send_message(channel, message, deadline);
    } catch (...) {
        output.resize(size_before);  // a partial message would corrupt the connection for the next one
        throw;
    }
}

async::Operation<> await_unblocked(Session& session, Deadline until) {
    while (session.blocked()) {
        const bool in_time = co_await async::AwaitInput{until};
        session.check();
        if (!in_time && session.blocked())
            throw Timeout(session.peer() + ": nothing was sent: the broker is blocked: " + *session.blocked(), false);
    }
}

async::Operation<> await_confirm(Session& session, Channel channel, std::uint64_t number, Deadline until) {
    for (;;) {
        session.check();
        const auto outcome = channel->confirms.outcome(number);
        if (outcome == Confirms::Outcome::nacked) throw Nacked("the broker refused the message (basic.nack)");
        if (outcome == Confirms::Outcome::confirmed) break;
        channel->check();
        const bool in_time = co_await async::AwaitInput{until};
        if (in_time) continue;
        if (const auto& reason = session.blocked())
            // The connection is intact and the broker gives the reason: the next message may succeed.
            throw Timeout(
                session.peer() + ": the broker did not confirm the message in time: it is blocked: " + *reason, false);
        throw Timeout(session.peer() + ": the broker did not confirm the message in time");
    }
    const auto found = channel->unroutable.find(number);
    std::optional<ReturnedMessage> own_return;
    if (found != channel->unroutable.end()) own_return = std::move(found->second);
    // Earlier entries belong to calls that have ended.
    channel->unroutable.erase(channel->unroutable.begin(), channel->unroutable.upper_bound(number));
    if (!own_return) co_return;
    throw Unroutable(own_return->text + " - exchange '" + own_return->exchange + "' has no queue for '" +
                         own_return->routing_key + "'",
                     own_return->code);
}

namespace {

void collect_outcome(ChannelState& channel, std::uint64_t number, std::exception_ptr& result) {
    if (number == 0) return;
    const auto outcome = channel.confirms.outcome(number);
    if (outcome == Confirms::Outcome::confirmed) result = nullptr;
    if (outcome == Confirms::Outcome::nacked)
        result = std::make_exception_ptr(Nacked("the broker refused the message (basic.nack)"));
}

}  // namespace

async::Operation<> await_confirms(Session& session, Channel channel, std::span<const std::uint64_t> numbers,
                                  std::span<std::exception_ptr> results, Deadline until) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (numbers[i] == 0) continue;  // was not sent
        try {
            co_await await_confirm(session, channel, numbers[i], until);
            results[i] = nullptr;
        } catch (const Nacked&) {
            results[i] = std::current_exception();
        } catch (const Unroutable&) {
            results[i] = std::current_exception();
        } catch (const OperationalError&) {
            // Later messages may have been confirmed nevertheless.
            for (std::size_t k = i; k < numbers.size(); ++k) collect_outcome(*channel, numbers[k], results[k]);
            throw;
        }
    }
}

}  // namespace kombu::amqp
