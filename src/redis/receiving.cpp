// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {
namespace {

/// Polling interval for a server without client-side caching.
constexpr std::chrono::milliseconds poll_interval{50};

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
                              std::string unacked_since, std::string error) {
    if (unacked_tag.empty()) {
        context.session.send({"LPUSH", context.keys.poison(queue), item});
        co_await context.session.await_reply(Reply::Type::integer, "LPUSH");
    } else {
        std::vector<std::string> keys{context.keys.unacked(), context.keys.unacked_index(), context.keys.poison(queue)};
        std::vector<std::string> arguments{unacked_tag, unacked_since, "2", std::to_string(item.size() + 1)};
        co_await run_script(context.session, requeue_script(), std::move(keys), std::move(arguments));
    }
    log_quarantined(context, queue, "a message (" + error + ")");
}

/// The result of polling a queue once: the number of messages moved to the poison list, and a message if there is one.
struct PollResult {
    std::size_t quarantined = 0;
    std::optional<ReceivedMessage> message{};
};

async::Operation<PollResult> poll_once(SessionContext& context, const std::string& queue, bool track_unacked) {
    const auto lists = context.keys.queue_lists(queue);
    std::vector<std::string> keys{context.keys.unacked(), context.keys.unacked_index(), context.keys.poison(queue)};
    keys.insert(keys.end(), lists.begin(), lists.end());
    std::vector<std::string> arguments{track_unacked ? "1" : "0", envelope::unacked_suffix(queue),
                                       std::to_string(max_envelope_size)};
    Reply reply = co_await run_script(context.session, receive_script(), std::move(keys), std::move(arguments));
    std::vector<Reply>& fields = reply.elements;
    if (!reply.is(Reply::Type::array) || (fields.size() != 1 && fields.size() != 5))
        unexpected_reply(context.session.peer(), "a script");
    PollResult result{.quarantined = static_cast<std::size_t>(std::max<std::int64_t>(fields[0].integer, 0))};
    if (result.quarantined != 0) log_quarantined(context, queue, std::to_string(result.quarantined) + " message(s)");
    if (fields.size() == 1) co_return result;

    std::string item = std::move(fields[1].text);
    const auto list = static_cast<std::size_t>(fields[2].integer);
    if (list >= lists.size()) unexpected_reply(context.session.peer(), "a script");
    ReceivedMessage message{.source_list = lists[list]};
    if (track_unacked) {
        message.unacked_tag = std::move(fields[3].text);
        message.unacked_since = std::move(fields[4].text);
    }
    std::string error;
    auto parsed = envelope::parse(item, error);
    if (!parsed) {
        co_await quarantine(context, queue, std::move(item), message.unacked_tag, message.unacked_since, error);
        ++result.quarantined;
        co_return result;
    }
    message.delivery = std::move(parsed->delivery);
    message.redelivered_marks = envelope::redelivered_marks(item);
    message.envelope_size = item.size();
    if (!track_unacked) message.envelope = std::move(item);
    result.message = std::move(message);
    co_return result;
}

}  // namespace

async::Operation<std::optional<ReceivedMessage>> try_receive(SessionContext& context, std::string queue, bool record,
                                                             Deadline until) {
    // At most half of the time is for restoring: the last step needs time too, and then a message is received.
    if (context.restore_timer.check_due()) co_await restore_expired(context, halfway_to(until));
    for (;;) {
        PollResult result = co_await poll_once(context, queue, record);
        if (result.message || result.quarantined == 0) co_return std::move(result.message);
    }
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
        message.redelivered_marks = envelope::redelivered_marks(item);
        message.envelope_size = item.size();
        message.envelope = std::move(item);
        return message;
    }
    return std::nullopt;
}

async::Operation<std::optional<ReceivedMessage>> wait_for_message(SessionContext& context, std::string queue,
                                                                  bool record, SubscriptionBuffer* inbox,
                                                                  Deadline until) {
    Session& session = context.session;
    const auto lists = context.keys.queue_lists(queue);
    for (;;) {
        std::optional<ReceivedMessage> message = inbox ? pop_message(*inbox, session.peer()) : std::nullopt;
        if (!message) message = co_await try_receive(context, queue, record, until);
        if (!message && inbox) message = pop_message(*inbox, session.peer());  // it may have arrived with the reply
        if (message || until.expired()) co_return message;

        const bool tracking = session.is_tracking();
        if (tracking) {
            // Watch before checking the lists: a message that arrives in between is noticed.
            session.watch(lists);
            session.send({"CLIENT", "CACHING", "YES"});
            std::vector<std::string> exists{"EXISTS"};
            exists.insert(exists.end(), lists.begin(), lists.end());
            session.send(exists);
            co_await session.await_reply(Reply::Type::status, "CLIENT CACHING");
            const Reply existing_lists = co_await session.await_reply(Reply::Type::integer, "EXISTS");
            if (existing_lists.integer != 0) continue;
        }
        const auto pause = tracking
                               ? context.options.polling_interval
                               : std::min<std::chrono::nanoseconds>(context.options.polling_interval, poll_interval);
        const Deadline next_poll = std::min({until, Deadline::after(pause), context.restore_timer.next()});
        while (!next_poll.expired() && !(tracking && session.watched_key_changed()) && !(inbox && !inbox->empty())) {
            co_await async::AwaitInput{next_poll};
            session.check();
        }
    }
}

async::Operation<> subscribe(SessionContext& context, std::string queue, SubscriptionBuffer& inbox) {
    const DeclaredEntities::QueueRecord* const record = context.declared.queue(queue);
    if (!record) co_return;
    if (!context.session.is_tracking() && !record->fanout_bindings.empty())
        throw ChannelError("NOT_IMPLEMENTED - receiving from a fanout exchange requires Redis 6 (CLIENT TRACKING)",
                           540);
    for (const auto& [exchange, key] : record->fanout_bindings)
        for (const std::string& pattern : context.keys.fanout_patterns(exchange, key))
            if (context.session.subscriptions().add(pattern, inbox)) context.session.subscribe(pattern);
    while (context.session.has_pending_subscriptions()) {
        co_await async::AwaitInput{};
        context.session.check();
    }
    if (const auto refusal = context.session.pop_subscription_error()) {
        unsubscribe(context, inbox);
        throw_if_error(*refusal, context.session.peer());
    }
}

void unsubscribe(SessionContext& context, SubscriptionBuffer& inbox) {
    for (const std::string& pattern : context.session.subscriptions().remove(inbox))
        context.session.unsubscribe(pattern);
    inbox.clear();
}

}  // namespace kombu::redis
