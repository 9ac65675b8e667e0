// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"
#include "support/uuid.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace kombu::redis {
namespace {

/// Limits of the messages that one call of expired_script() returns.
constexpr std::size_t page_size = 100;
constexpr std::size_t page_bytes = std::size_t{1} << 20;

/// Arguments of requeue_script() to requeue the envelope within a record. Positions of marks are relative to the
/// envelope.
ScriptArguments requeue_arguments(const SessionContext& context, std::vector<std::string> lists,
                                  std::string unacked_tag, std::string unacked_since, json_text::Span envelope,
                                  const std::vector<envelope::Insertion>& marks) {
    ScriptArguments call;
    call.keys = {context.keys.unacked(), context.keys.unacked_index()};
    call.keys.insert(call.keys.end(), lists.begin(), lists.end());
    call.values = {std::move(unacked_tag), std::move(unacked_since), std::to_string(envelope.begin + 1),
                   std::to_string(envelope.end)};
    for (const envelope::Insertion& mark : marks) {
        call.values.push_back(std::to_string(envelope.begin + mark.at));
        call.values.emplace_back(mark.text);
    }
    return call;
}

ScriptArguments requeue_arguments(const SessionContext& context, const ReceivedMessage& message) {
    // In the record one bracket precedes the envelope.
    return requeue_arguments(context, {message.source_list}, message.unacked_tag, "", {1, 1 + message.envelope_size},
                             message.redelivered_marks);
}

/// Sends HDEL or ZREM for these members of `key`. Formatting it by hiredis takes more (bench/RESULTS.md).
void send_removal(SessionContext& context, std::string_view name, const std::string& key,
                  std::span<const std::string> members) {
    std::string command;
    append_command_header(command, 2 + members.size());
    append_argument(command, name);
    append_argument(command, key);
    for (const std::string& member : members) append_argument(command, member);
    context.session.send_formatted(command);
}

}  // namespace

std::string redelivered_envelope(const ReceivedMessage& message) {
    std::string text;
    std::size_t from = 0;
    for (const envelope::Insertion& mark : message.redelivered_marks) {
        text.append(message.envelope, from, mark.at - from).append(mark.text);
        from = mark.at;
    }
    return text.append(message.envelope, from);
}

async::Operation<> acknowledge(SessionContext& context, std::string tag) {
    Session& session = context.session;
    // Not in a transaction: a server that is out of memory refuses those, and acknowledging must be possible to free
    // memory. An index entry without a record is harmless; expired_script() removes it.
    send_removal(context, "HDEL", context.keys.unacked(), {&tag, 1});
    send_removal(context, "ZREM", context.keys.unacked_index(), {&tag, 1});
    const Reply record_reply = co_await session.await_reply();
    const Reply index_reply = co_await session.await_reply();
    throw_if_error(record_reply, session.peer());
    throw_if_error(index_reply, session.peer());
}

void acknowledge_nowait(SessionContext& context, const std::vector<std::string>& tags) {
    send_removal(context, "HDEL", context.keys.unacked(), tags);
    context.session.ignore_reply();
    send_removal(context, "ZREM", context.keys.unacked_index(), tags);
    context.session.ignore_reply();
}

void renew_nowait(SessionContext& context, const std::vector<std::string>& tags) {
    constexpr std::size_t max_tags = 1000;
    for (std::size_t at = 0; at < tags.size(); at += max_tags) {
        ScriptArguments call{.keys = {context.keys.unacked_index()}, .values = {wall_clock_seconds()}};
        const auto first = tags.begin() + static_cast<std::ptrdiff_t>(at);
        const auto last = tags.begin() + static_cast<std::ptrdiff_t>(std::min(tags.size(), at + max_tags));
        call.values.insert(call.values.end(), first, last);
        send_script_nowait(context.session, renew_script(), call);
    }
}

async::Operation<> requeue_message(SessionContext& context, const ReceivedMessage& message) {
    ++context.writes;
    if (message.unacked_tag.empty()) {
        context.session.send({"RPUSH", message.source_list, redelivered_envelope(message)});
        co_await context.session.await_reply(Reply::Type::integer, "RPUSH");
    } else {
        co_await run_script(context.session, requeue_script(), requeue_arguments(context, message));
    }
}

void requeue_message_nowait(SessionContext& context, const ReceivedMessage& message) {
    ++context.writes;
    if (message.unacked_tag.empty()) {
        context.session.send({"RPUSH", message.source_list, redelivered_envelope(message)});
        context.session.ignore_reply();
    } else {
        send_script_nowait(context.session, requeue_script(), requeue_arguments(context, message));
    }
}

namespace {

/// The lists to which a message is restored. The record of a message received by this library names its queue, through
/// the default exchange. Another record names only the exchange and the routing key, as in Kombu.
async::Operation<std::vector<std::string>> requeue_targets(SessionContext& context,
                                                           const envelope::UnackedRecord& record) {
    std::vector<std::string> queues;
    if (record.exchange.empty()) {
        if (!record.routing_key.empty()) queues.push_back(record.routing_key);
    } else {
        const auto* const bindings = co_await load_bindings(context, context.keys.bindings(record.exchange), true);
        const Exchange* const declared = context.declared.exchange(record.exchange);
        queues = matching_queues(bindings->bindings, declared ? declared->type() : "direct", record.routing_key);
    }
    std::vector<std::string> lists;
    for (const std::string& queue : queues) lists.push_back(context.keys.queue(queue, record.priority));
    co_return lists;
}

async::Operation<> restore_one(SessionContext& context, std::string tag, std::string since, std::string record) {
    ++context.writes;
    const auto parsed = envelope::parse_unacked_record(record);
    std::vector<std::string> lists;
    if (parsed) lists = co_await requeue_targets(context, *parsed);
    ScriptArguments call;
    if (!lists.empty()) {
        std::vector<envelope::Insertion> marks = envelope::redelivered_marks(record, parsed->envelope.begin);
        for (envelope::Insertion& mark : marks) mark.at -= parsed->envelope.begin;
        call = requeue_arguments(context, std::move(lists), tag, since, parsed->envelope, marks);
    } else {
        const std::string poison = context.keys.poison(parsed ? parsed->routing_key : context.options.unacked_key);
        log(LogLevel::error, context.session.peer() + ": a message whose visibility timeout has expired " +
                                 (parsed ? "has no queue to return to" : "has an unreadable record") +
                                 " and was moved to the list " + poison);
        call = requeue_arguments(context, {poison}, tag, since,
                                 parsed ? parsed->envelope : json_text::Span{0, record.size()}, {});
    }
    co_await run_script(context.session, requeue_script(), std::move(call));
}

/// A record that cannot be restored stays where it is, and does not prevent the others from being restored.
async::Operation<> try_restore(SessionContext& context, const Reply& tag, const Reply& since, const Reply& record) {
    try {
        co_await restore_one(context, tag.text, since.text, record.text);
    } catch (const ChannelError& error) {
        context.session.begin_operation();  // discards the outstanding replies
        log(LogLevel::error,
            context.session.peer() +
                ": a message whose visibility timeout has expired cannot be restored: " + error.what());
    }
}

async::Operation<> restore_pages(SessionContext& context, const std::string& token, Deadline until) {
    const std::size_t limit = context.options.unacked_restore_limit;
    const auto expire = std::chrono::duration_cast<std::chrono::milliseconds>(context.options.unacked_mutex_expire);
    const std::string timeout =
        std::to_string(std::chrono::duration<double>(context.options.visibility_timeout).count());
    std::size_t restored = 0;
    std::string previous_first_tag;
    for (bool first = true;; first = false) {
        const std::size_t page_limit = limit == 0 ? page_size : std::min(page_size, limit - restored);
        ScriptArguments call{
            .keys = {context.keys.unacked(), context.keys.unacked_index(), context.keys.unacked_mutex()},
            .values = {token, std::to_string(std::max<std::int64_t>(expire.count(), 1)), timeout,
                       std::to_string(page_limit), first ? "1" : "0", std::to_string(page_bytes),
                       wall_clock_seconds()}};
        const Reply page = co_await run_script(context.session, expired_script(), std::move(call));
        if (!page.is(Reply::Type::array) || page.elements.empty()) co_return;  // mutex locked, or nothing left
        const auto& found = page.elements;
        if (found[0].text == previous_first_tag) break;  // the rest cannot be restored
        previous_first_tag = found[0].text;
        for (std::size_t i = 0; i + 2 < found.size(); i += 3)
            co_await try_restore(context, found[i], found[i + 1], found[i + 2]);
        restored += found.size() / 3;
        if (limit != 0 && restored >= limit) break;
        if (until.expired()) {
            context.restore_timer.set_due_now();
            break;
        }
    }
    ScriptArguments unlock{.keys = {context.keys.unacked_mutex()}, .values = {token}};
    co_await run_script(context.session, unlock_script(), std::move(unlock));
}

}  // namespace

async::Operation<> restore_expired(SessionContext& context, Deadline until) {
    const std::string token = make_uuid();
    std::string error_text;
    try {
        co_await restore_pages(context, token, until);
        co_return;
    } catch (const ChannelError& error) {
        // Must not fail the consumer's receive, which this is only a part of.
        error_text = error.what();
    }
    context.session.begin_operation();
    log(LogLevel::error,
        context.session.peer() + ": messages whose visibility timeout has expired cannot be restored: " + error_text);
    send_script_nowait(context.session, unlock_script(), {.keys = {context.keys.unacked_mutex()}, .values = {token}});
}

}  // namespace kombu::redis
