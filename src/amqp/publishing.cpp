#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/rpc.hpp"
#include "amqp/table.hpp"

#include <optional>
#include <utility>

namespace kombu::amqp {

void publish(Session& session, ChannelState& channel, const OutgoingMessage& message) {
    ready(session, channel);
    std::string& output = session.output();
    const std::size_t before = output.size();
    try {
        amqp_basic_publish_t publish{0, bytes(message.head->exchange), bytes(message.head->routing_key),
                                     message.head->mandatory, 0};
        session.send(channel.number(), AMQP_BASIC_PUBLISH_METHOD, &publish);
        TableEncoder tables;
        amqp_basic_properties_t properties = to_wire(message.head->properties, tables);
        session.send_content(channel.number(), properties, message.body);
    } catch (...) {
        output.resize(before);  // half a message would break the connection for the next one
        throw;
    }
}

async::Operation<> await_unblocked(Session& session, Deadline until) {
    while (session.blocked()) {
        const bool in_time = co_await async::AwaitInput{until};
        session.check();
        if (!in_time && session.blocked())
            throw Timeout(session.peer() + ": the message was not sent: the broker is blocked: " + *session.blocked(),
                          false);
    }
}

async::Operation<> await_confirm(Session& session, Channel channel, std::uint64_t number, Deadline until) {
    for (;;) {
        session.check();
        const auto outcome = channel->confirms.outcome(number);
        if (outcome == Confirms::Outcome::refused) throw Nacked("the broker refused the message (basic.nack)");
        if (outcome == Confirms::Outcome::acknowledged) break;
        channel->check();
        const bool in_time = co_await async::AwaitInput{until};
        if (in_time) continue;
        if (const auto& reason = session.blocked())
            // The connection is well, and the broker says what is wrong: the next message may pass.
            throw Timeout(
                session.peer() + ": the broker did not confirm the message in time: it is blocked: " + *reason, false);
        throw Timeout(session.peer() + ": the broker did not confirm the message in time");
    }
    const auto found = channel->unroutable.find(number);
    std::optional<Received> mine;
    if (found != channel->unroutable.end()) mine = std::move(found->second);
    // Those before it belong to calls that are over.
    channel->unroutable.erase(channel->unroutable.begin(), channel->unroutable.upper_bound(number));
    if (!mine) co_return;
    const Received returned = std::move(*mine);
    const DecodedMethod method{returned.payload};
    const auto& fields = method.as<amqp_basic_return_t>();
    throw Unroutable(std::string{view(fields.reply_text)} + " - exchange '" + std::string{view(fields.exchange)} +
                         "' has no queue for '" + std::string{view(fields.routing_key)} + "'",
                     fields.reply_code);
}

namespace {

void take_outcome(ChannelState& channel, std::uint64_t number, std::exception_ptr& result) {
    if (number == 0) return;
    const auto outcome = channel.confirms.outcome(number);
    if (outcome == Confirms::Outcome::acknowledged) result = nullptr;
    if (outcome == Confirms::Outcome::refused)
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
            // Those behind it may have been settled all the same.
            for (std::size_t k = i; k < numbers.size(); ++k) take_outcome(*channel, numbers[k], results[k]);
            throw;
        }
    }
}

}  // namespace kombu::amqp
