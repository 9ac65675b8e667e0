// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/confirm_wait.hpp"
#include "amqp/rpc.hpp"
#include "support/append_or_undo.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

namespace kombu::amqp {

void publish(Session& session, ChannelState& channel, const OutgoingMessage& message, Deadline deadline) {
    check_usable(session, channel);
    append_or_undo(session.output(), [&] { session.send_message(channel, message, deadline); });
}

BodyFrames publish_head(Session& session, ChannelState& channel, const OutgoingMessage& message) {
    check_usable(session, channel);
    BodyFrames frames;
    std::string& output = session.output();
    append_or_undo(output, [&] {
        frames = session.send_message_head(channel, message);
        // For the first frame: nothing of the message was sent when there is no memory for it.
        output.reserve(output.size() + std::min<std::size_t>(message.body.size(), session.max_frame_size()));
    });
    return frames;
}

std::uint64_t await_confirmation_of(ChannelState& channel, const OutgoingMessage& message) {
    const MessageMetadata& metadata = *message.metadata;
    if (!metadata.mandatory) return channel.confirms.on_published();
    return channel.confirms.on_published(Confirms::Fingerprint{metadata.exchange, metadata.routing_key, message.body,
                                                               channel.publish_head.properties()});
}

async::Operation<> await_unblocked(Session& session, Deadline until) {
    while (session.blocked()) {
        const bool in_time = co_await async::AwaitInput{until};
        session.check();
        if (!in_time && session.blocked())
            throw Timeout(session.peer() + ": nothing was sent: the broker is blocked: " + *session.blocked(), false);
    }
}

namespace {

/// The error of a message that the broker has refused or could not route; null for a confirmed one.
std::exception_ptr refusal_of(ChannelState& channel, std::uint64_t number, Confirms::Outcome outcome) {
    if (outcome == Confirms::Outcome::nacked)
        return std::make_exception_ptr(Nacked("the broker refused the message (basic.nack)"));
    if (channel.unroutable.empty()) return nullptr;
    std::optional<ReturnedMessage> returned;
    if (const auto found = channel.unroutable.find(number); found != channel.unroutable.end())
        returned = std::move(found->second);
    // Earlier entries belong to calls that have ended.
    channel.unroutable.erase(channel.unroutable.begin(), channel.unroutable.upper_bound(number));
    if (!returned) return nullptr;
    return std::make_exception_ptr(Unroutable(
        returned->text + " - exchange '" + returned->exchange + "' has no queue for '" + returned->routing_key + "'",
        returned->code));
}

}  // namespace

void ConfirmWait::result() const {
    session_.check();
    if (next_ > last_) return;
    channel_->check();
    if (const auto& reason = session_.blocked())
        // The connection is intact and the broker gives the reason: the next message may succeed.
        throw Timeout(session_.peer() + ": the broker did not confirm the message in time: it is blocked: " + *reason,
                      false);
    throw Timeout(session_.peer() + ": the broker did not confirm the message in time");
}

void SingleConfirmWait::result() const {
    ConfirmWait::result();
    if (const std::exception_ptr error = refusal_of(channel(), number_, channel().confirms.outcome(number_)))
        std::rethrow_exception(error);
}

void collect_outcomes(ChannelState& channel, std::span<const std::uint64_t> numbers,
                      std::span<std::exception_ptr> results) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (numbers[i] == 0) continue;
        const auto outcome = channel.confirms.outcome(numbers[i]);
        if (outcome != Confirms::Outcome::pending) results[i] = refusal_of(channel, numbers[i], outcome);
    }
}

}  // namespace kombu::amqp
