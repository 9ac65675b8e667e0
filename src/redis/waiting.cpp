// SPDX-License-Identifier: BSD-3-Clause
#include "redis/waiting.hpp"

#include "redis/connection.hpp"
#include "support/random.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {
namespace {

/// How often a consumer looks at a queue at first, on a server that sends no notices.
constexpr std::chrono::milliseconds first_look{10};
/// The number of consumers where the user may not count them.
constexpr std::size_t assumed_consumers = 10;
/// How often the consumers of a queue are counted at most.
constexpr std::chrono::seconds count_interval{2};

bool has_notice(RedisConnection& connection) {
    return connection.subscriber() && connection.subscriber()->session.has_notice();
}

/// Waits until `until`, or for a message in `inbox`, or for a notice if `for_notice`. Returns whether there is a
/// notice.
async::Operation<bool> await_notice(RedisConnection& connection, bool for_notice, const SubscriptionBuffer* inbox,
                                    Deadline until) {
    while (!until.expired() && !(for_notice && has_notice(connection)) && !(inbox && !inbox->empty()))
        co_await connection.wait_for_input(until);
    co_return (for_notice && has_notice(connection));
}

bool is_count_due(const WaitedQueue& queue) {
    return queue.is_announced && Clock::now() - queue.counted_at > count_interval;
}

/// Looks at the queue without receiving. Counts its consumers too, if there were races and the last count is old.
async::Operation<bool> look(RedisConnection& connection, WaitedQueue& queue, bool has_rivals, Deadline deadline) {
    const bool is_watched =
        queue.is_watched && queue.seen_empty_at == connection.context().writes && !has_notice(connection);
    const bool watch = connection.receives_notices() && !is_watched;
    if (watch) connection.subscriber()->session.watch(queue.lists);
    const bool counts = has_rivals && is_count_due(queue);
    if (counts) queue.counted_at = Clock::now();
    auto request = look_at_queue(connection.context(), queue, watch, counts ? queue.waiting_channel : "");
    const QueueState state = co_await connection.run(std::move(request), deadline);
    if (counts)
        queue.contention.set_consumers(state.subscribers < 0 ? assumed_consumers
                                                             : static_cast<std::size_t>(state.subscribers));
    queue.is_watched = connection.receives_notices();
    queue.seen_empty_at = state.has_messages ? WaitedQueue::no_write : connection.context().writes;
    co_return state.has_messages;
}

async::Operation<std::optional<ReceivedMessage>> receive(RedisConnection& connection, WaitedQueue& queue, bool watch,
                                                         Deadline until, Deadline deadline) {
    if (watch) connection.subscriber()->session.watch(queue.lists);
    auto request = try_receive(connection.context(), queue, watch, until);
    Received result = co_await connection.run(std::move(request), deadline);
    queue.is_watched = result.watched;
    queue.seen_empty_at = result.has_more ? WaitedQueue::no_write : connection.context().writes;
    co_return std::move(result.message);
}

/// Lets the server send notices, if it does that, and the other consumers count this one.
async::Operation<> start_notices(RedisConnection& connection, WaitedQueue& queue, Deadline until) {
    const bool enabled = co_await connection.enable_notices(until);
    if (!enabled || std::exchange(queue.is_announced, true)) co_return;
    connection.subscriber()->session.announce(queue.waiting_channel);
    connection.try_send();
}

}  // namespace

async::Operation<std::optional<ReceivedMessage>> wait_for_message(RedisConnection& connection, WaitedQueue& queue,
                                                                  SubscriptionBuffer* inbox, Deadline until,
                                                                  Deadline deadline) {
    SessionContext& context = connection.context();
    Contention& contention = queue.contention;
    const auto longest = context.options.polling_interval;
    connection.poll_subscriber();
    if (std::exchange(context.waited_queue, &queue) != &queue) ++context.writes;  // one queue is watched at a time
    // Seen empty, and its changes are reported, or it is the turn of others.
    bool is_empty = connection.receives_notices() && queue.seen_empty_at == context.writes && !until.expired() &&
                    (queue.is_watched ? !has_notice(connection) : contention.rests_until() > Clock::now());
    bool notified = false;
    for (;;) {
        std::optional<ReceivedMessage> message = inbox ? pop_message(*inbox, context.session.peer()) : std::nullopt;
        if (!message && !is_empty) {
            // With rivals it will rest, and each of them would change keys that the script reads.
            const bool watch = connection.receives_notices() && !contention.has_rivals();
            message = co_await receive(connection, queue, watch, until, deadline);
        }
        if (message) {
            if (!message->source_list.empty()) contention.on_received(Clock::now(), !notified, random_share());
            queue.look_interval = {};
            co_return message;
        }
        is_empty = true;
        if (until.expired()) co_return std::nullopt;
        if (!connection.receives_notices() || !queue.is_announced) co_await start_notices(connection, queue, until);

        if (connection.receives_notices()) {
            const auto now = Clock::now();
            const bool lost = std::exchange(notified, false);
            const auto pause_until = lost ? now + contention.on_lost(now, random_share()) : contention.rests_until();
            if (pause_until > now)
                co_await await_notice(connection, false, inbox, std::min(until, Deadline::at(pause_until)));
            if (pause_until > now || !queue.is_watched || (lost && is_count_due(queue))) {
                is_empty = !co_await look(connection, queue, contention.has_rivals(), deadline);
                if (!is_empty || until.expired()) continue;
            }
            queue.look_interval = longest;
        } else if (queue.look_interval.count() == 0) {
            queue.look_interval = std::min<decltype(longest)>(first_look, longest);
        }

        if (queue.next_look.expired()) queue.next_look = Deadline::after(queue.look_interval);
        contention.on_waiting(Clock::now());
        const Deadline next = std::min({until, queue.next_look, context.restore_timer.next()});
        notified = co_await await_notice(connection, true, inbox, next);
        if (notified) {
            const auto wait_for_others = contention.on_notice(Clock::now(), random_share());
            is_empty = false;
            if (wait_for_others.count() != 0) {
                co_await await_notice(connection, false, inbox, Deadline::after(wait_for_others));
                is_empty = !co_await look(connection, queue, false, deadline);
            }
        } else if (context.restore_timer.next().expired()) {
            co_await connection.run(restore_if_due(context, until), deadline);
            is_empty = queue.seen_empty_at == context.writes;
        } else if (queue.next_look.expired() || (until.expired() && !connection.receives_notices())) {
            is_empty = !co_await look(connection, queue, false, deadline);
            queue.look_interval = std::min<decltype(longest)>(2 * queue.look_interval, longest);
        }
    }
}

}  // namespace kombu::redis
