// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {
namespace {

Deadline halfway_to(Deadline until) {
    const Clock::time_point now = Clock::now();
    return until.is_never() || until.when() <= now ? until : Deadline::at(now + (until.when() - now) / 2);
}

void log_quarantined(SessionContext& context, const std::string& queue, const std::string& what) {
    log(LogLevel::error, context.session.peer() + ": " + what + " in the queue " + queue +
                             " cannot be delivered and was moved to the list " + context.keys.poison(queue));
}

/// Moves a message that receive_script() accepted, but envelope::parse() did not, to the poison list.
async::Operation<> quarantine(SessionContext& context, std::string queue, std::string item, std::string unacked_tag,
                              std::string error) {
    if (unacked_tag.empty()) {
        context.session.send({"LPUSH", context.keys.poison(queue), item});
        co_await context.session.await_reply(Reply::Type::integer, "LPUSH");
    } else {
        ScriptArguments call{.keys = {context.keys.unacked(), context.keys.unacked_index(), context.keys.poison(queue)},
                             .values = {unacked_tag, "", "2", std::to_string(item.size() + 1)}};
        co_await run_script(context.session, requeue_script(), std::move(call));
    }
    log_quarantined(context, queue, "a message (" + error + ")");
}

ScriptArguments receive_arguments(const SessionContext& context, const ReceivedQueue& queue, std::size_t count) {
    ScriptArguments call{
        .keys = {context.keys.unacked(), context.keys.unacked_index(), context.keys.poison(queue.name)},
        .values = {queue.track_unacked ? "1" : "0", envelope::unacked_suffix(queue.name),
                   std::to_string(max_envelope_size), std::to_string(count)}};
    call.keys.insert(call.keys.end(), queue.lists.begin(), queue.lists.end());
    return call;
}

/// Calls receive_script(), by the formatted command as long as the server accepts that. With `watch` the server reports
/// changes of the lists from then on; the result's `watched` tells whether that was possible.
struct ScriptResult {
    Reply reply{};
    bool watched = false;
};
async::Operation<ScriptResult> call_receive_script(SessionContext& context, ReceivedQueue& queue, std::size_t count,
                                                   bool watch) {
    Session& session = context.session;
    bool refused = false;
    if (!session.evalsha_refused && !context.time_refused) {
        if (watch) session.send_formatted(context.caching_command);
        session.send_formatted(queue.receive_command(context, count));
        ScriptResult result;
        if (watch) {
            const Reply caching = co_await session.await_reply();
            result.watched = caching.is(Reply::Type::status);
            context.notices_refused = !result.watched;
        }
        result.reply = co_await session.await_reply();
        refused = is_refused(result.reply);
        if (!refused && error_prefix(result.reply) != "NOSCRIPT") {
            throw_if_error(result.reply, session.peer());
            co_return result;
        }
    }
    ScriptArguments call = receive_arguments(context, queue, count);
    call.values.push_back(wall_clock_seconds());
    ScriptResult result;
    result.reply = co_await run_script(session, receive_script(), std::move(call));
    if (refused && !session.evalsha_refused) context.time_refused = true;
    co_return result;
}

async::Operation<Received> poll_once(SessionContext& context, ReceivedQueue& queue, std::size_t count, bool watch) {
    constexpr std::size_t head = 2, fields_per_message = 3;
    ScriptResult answer = co_await call_receive_script(context, queue, count, watch);
    std::vector<Reply>& fields = answer.reply.elements;
    if (!answer.reply.is(Reply::Type::array) || fields.size() < head ||
        (fields.size() - head) % fields_per_message != 0)
        unexpected_reply(context.session.peer(), "a script");
    Received result{.watched = answer.watched};
    if (fields[0].integer > 0) {
        log_quarantined(context, queue.name, std::to_string(fields[0].integer) + " message(s)");
        result.quarantined = true;
    }
    result.has_more = fields[1].integer != 0 || fields[1].is(Reply::Type::error);
    for (std::size_t at = head; at < fields.size(); at += fields_per_message) {
        std::string item = std::move(fields[at].text);
        const auto list = static_cast<std::size_t>(fields[at + 1].integer);
        if (list >= queue.lists.size()) unexpected_reply(context.session.peer(), "a script");
        ReceivedMessage message{.source_list = queue.lists[list]};
        if (queue.track_unacked) message.unacked_tag = std::move(fields[at + 2].text);
        std::string error;
        auto parsed = envelope::parse(item, error);
        if (!parsed) {
            co_await quarantine(context, queue.name, std::move(item), message.unacked_tag, error);
            result.quarantined = true;
            continue;
        }
        message.delivery = std::move(parsed->delivery);
        message.redelivered_marks = std::move(parsed->redelivered_marks);
        message.envelope_size = item.size();
        if (!queue.track_unacked) message.envelope = std::move(item);
        result.messages.push_back(std::move(message));
    }
    co_return result;
}

}  // namespace

std::string wall_clock_seconds() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
    const std::string fraction = std::to_string(1'000'000 + microseconds % 1'000'000);
    return std::to_string(microseconds / 1'000'000) + '.' + fraction.substr(1);
}

ReceivedQueue::ReceivedQueue(const SessionContext& context, std::string queue, bool track)
    : name(std::move(queue)), track_unacked(track), lists(context.keys.queue_lists(name)) {
    std::vector<std::string> exists{"EXISTS"};
    exists.insert(exists.end(), lists.begin(), lists.end());
    append_command(exists_command, exists);
}

const std::string& ReceivedQueue::receive_command(const SessionContext& context, std::size_t count) {
    if (std::exchange(receive_count_, count) != count)
        receive_command_ = evalsha_command(receive_script(), receive_arguments(context, *this, count));
    return receive_command_;
}

async::Operation<> restore_if_due(SessionContext& context, Deadline until) {
    // At most half of the time is for restoring: the last step needs time too, and then a message is received.
    if (context.restore_timer.check_due()) co_await restore_expired(context, halfway_to(until));
}

async::Operation<Received> try_receive(SessionContext& context, ReceivedQueue& queue, std::size_t count, bool watch,
                                       Deadline until) {
    if (context.restore_timer.next().expired()) co_await restore_if_due(context, until);
    for (;;) {
        Received result = co_await poll_once(context, queue, std::min(count, max_received), watch);
        if (!result.messages.empty() || !result.quarantined) co_return result;
    }
}

async::Operation<std::optional<std::chrono::milliseconds>> move_due_messages(SessionContext& context,
                                                                             const ReceivedQueue& queue) {
    ScriptArguments call{.values = {wall_clock_seconds()}};
    for (const std::string& list : queue.lists) {
        call.keys.push_back(context.keys.delayed(list));
        call.keys.push_back(list);
    }
    const Reply reply = co_await run_script(context.session, due_script(), std::move(call));
    if (!reply.is(Reply::Type::array) || reply.elements.size() != 2)
        unexpected_reply(context.session.peer(), "a script");
    if (reply.elements[0].integer != 0) ++context.writes;
    std::optional<std::chrono::milliseconds> next;
    if (reply.elements[1].integer >= 0) next = std::chrono::milliseconds{reply.elements[1].integer};
    co_return next;
}

async::Operation<QueueState> look_at_queue(SessionContext& context, const ReceivedQueue& queue, bool watch,
                                           std::string count_channel) {
    Session& session = context.session;
    if (watch) session.send_formatted(context.caching_command);
    session.send_formatted(queue.exists_command);
    if (!count_channel.empty()) session.send({"PUBSUB", "NUMSUB", count_channel});
    QueueState state;
    if (watch) {
        const Reply caching = co_await session.await_reply();
        context.notices_refused = !caching.is(Reply::Type::status);
    }
    const Reply existing_lists = co_await session.await_reply();
    if (!is_refused(existing_lists)) throw_if_error(existing_lists, session.peer());
    // receive_script() tells what EXISTS may not.
    state.has_messages = existing_lists.is(Reply::Type::error) || existing_lists.integer != 0;
    if (!count_channel.empty()) {
        const Reply count = co_await session.await_reply();
        if (count.elements.size() == 2) state.subscribers = count.elements[1].integer;
    }
    co_return state;
}

std::optional<ReceivedMessage> pop_message(SubscriptionBuffer& inbox, const std::string& peer) {
    while (!inbox.empty()) {
        std::string item = inbox.pop(), error;
        auto parsed = envelope::parse(item, error);
        if (!parsed) {
            log(LogLevel::error, peer + ": a message of a fanout exchange cannot be delivered: " + error);
            continue;
        }
        ReceivedMessage message{.delivery = std::move(parsed->delivery)};
        message.redelivered_marks = std::move(parsed->redelivered_marks);
        message.envelope_size = item.size();
        message.envelope = std::move(item);
        return message;
    }
    return std::nullopt;
}

async::Operation<> subscribe(SessionContext& context, SubscriberSession& subscriber, std::string queue,
                             SubscriptionBuffer& inbox) {
    const DeclaredEntities::QueueRecord* const record = context.declared.queue(queue);
    if (!record) co_return;
    std::size_t expected = 0;
    for (const auto& [exchange, key] : record->fanout_bindings) {
        for (const std::string& pattern : context.keys.fanout_patterns(exchange, key)) {
            if (!subscriber.subscriptions().add(pattern, inbox)) continue;
            subscriber.send({"PSUBSCRIBE", pattern});
            ++expected;
        }
    }
    std::optional<Reply> refusal;
    for (; expected != 0; --expected) {
        Reply reply = co_await subscriber.await_reply();
        if (reply.is(Reply::Type::error)) refusal = std::move(reply);
    }
    if (!refusal) co_return;
    unsubscribe(subscriber, inbox);
    throw_if_error(*refusal, subscriber.peer());
}

void unsubscribe(SubscriberSession& subscriber, SubscriptionBuffer& inbox) {
    for (const std::string& pattern : subscriber.subscriptions().remove(inbox)) {
        subscriber.send({"PUNSUBSCRIBE", pattern});
        subscriber.ignore_reply();
    }
    inbox.clear();
}

}  // namespace kombu::redis
