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

/// Lets the server send notices, if it does that, and the other consumers count this one.
async::Operation<> start_notices(RedisConnection& connection, WaitedQueue& queue, Deadline until) {
    const bool enabled = co_await connection.enable_notices(until);
    if (!enabled || std::exchange(queue.is_announced, true)) co_return;
    connection.subscriber()->session.announce(queue.waiting_channel);
    connection.try_send();
}

}  // namespace

void WaitedQueue::begin_wait(RedisConnection& connection, Deadline until) {
    const bool has_notice = connection.subscriber() && connection.subscriber()->session.has_notice(lists);
    const bool is_rested = contention_.rests_until() <= Clock::now();
    // Seen empty, and its changes are reported, or it is the turn of others.
    const bool is_empty = connection.receives_notices() && seen_empty_at_ == connection.context().writes &&
                          !until.expired() && (is_watched_ ? !has_notice : !is_rested);
    phase_ = is_empty ? Phase::empty : Phase::receive;
    notified_ = false;
}

void WaitedQueue::continue_wait(RedisConnection& connection, Deadline until) {
    if (phase_ == Phase::receive) return begin_wait(connection, until);
    if (until.expired() || (phase_ == Phase::watch && seen_empty_at_ != connection.context().writes))
        phase_ = Phase::receive;
    check_notice(connection);
}

void WaitedQueue::check_notice(RedisConnection& connection) {
    const bool has_notice =
        phase_ == Phase::watch && connection.subscriber() && connection.subscriber()->session.has_notice(lists);
    if (!has_notice) return;
    notified_ = true;
    const auto wait_for_others = contention_.on_notice(Clock::now(), random_share());
    phase_ = wait_for_others.count() == 0 ? Phase::receive : Phase::yield;
    due_ = Deadline::after(wait_for_others);
}

async::Operation<std::vector<ReceivedMessage>> WaitedQueue::proceed(RedisConnection& connection, std::size_t count,
                                                                    Deadline until, Deadline deadline) {
    switch (phase_) {
        case Phase::receive: {
            auto messages = co_await receive(connection, count, until, deadline);
            co_return messages;
        }
        case Phase::empty: co_await on_empty(connection, until, deadline); break;
        case Phase::pause:
            co_await look(connection, contention_.has_rivals(), deadline);
            look_interval_ = connection.context().options.polling_interval;
            if (phase_ != Phase::receive) start_watching();
            break;
        case Phase::watch:
            co_await look(connection, false, deadline);
            look_interval_ =
                std::min<decltype(look_interval_)>(2 * look_interval_, connection.context().options.polling_interval);
            if (phase_ != Phase::receive) phase_ = Phase::empty;
            break;
        case Phase::yield:
            co_await look(connection, false, deadline);
            if (phase_ != Phase::receive) phase_ = Phase::empty;
            break;
    }
    co_return std::vector<ReceivedMessage>{};
}

async::Operation<std::vector<ReceivedMessage>> WaitedQueue::last_look(RedisConnection& connection, std::size_t count,
                                                                      Deadline until, Deadline deadline) {
    std::vector<ReceivedMessage> messages;
    if (connection.receives_notices() && phase_ != Phase::yield) co_return messages;
    const bool has_messages = co_await look(connection, false, deadline);
    if (has_messages) messages = co_await receive(connection, count, until, deadline);
    co_return messages;
}

async::Operation<std::vector<ReceivedMessage>> WaitedQueue::receive(RedisConnection& connection, std::size_t count,
                                                                    Deadline until, Deadline deadline) {
    // With rivals it will rest, and each of them would change keys that the script reads.
    const bool watch = connection.receives_notices() && !contention_.has_rivals();
    if (watch) connection.subscriber()->session.watch(lists);
    auto request = try_receive(connection.context(), *this, count, watch, until);
    Received result = co_await connection.run(std::move(request), deadline);
    is_watched_ = result.watched;
    seen_empty_at_ = result.has_more ? no_write : connection.context().writes;
    if (result.messages.empty()) {
        phase_ = Phase::empty;
    } else {
        contention_.on_received(Clock::now(), !notified_, random_share());
        look_interval_ = {};
    }
    co_return std::move(result.messages);
}

bool WaitedQueue::is_count_due() const { return is_announced && Clock::now() - counted_at_ > count_interval; }

async::Operation<bool> WaitedQueue::look(RedisConnection& connection, bool count_consumers, Deadline deadline) {
    SessionContext& context = connection.context();
    const bool has_notice = connection.subscriber() && connection.subscriber()->session.has_notice(lists);
    const bool is_watched = is_watched_ && seen_empty_at_ == context.writes && !has_notice;
    const bool watch = connection.receives_notices() && !is_watched;
    if (watch) connection.subscriber()->session.watch(lists);
    const bool counts = count_consumers && is_count_due();
    if (counts) counted_at_ = Clock::now();
    auto request = look_at_queue(context, *this, watch, counts ? waiting_channel : "");
    const QueueState state = co_await connection.run(std::move(request), deadline);
    if (counts)
        contention_.set_consumers(state.subscribers < 0 ? assumed_consumers
                                                        : static_cast<std::size_t>(state.subscribers));
    is_watched_ = connection.receives_notices();
    seen_empty_at_ = state.has_messages ? no_write : context.writes;
    if (state.has_messages) phase_ = Phase::receive;
    co_return state.has_messages;
}

async::Operation<> WaitedQueue::on_empty(RedisConnection& connection, Deadline until, Deadline deadline) {
    if (!connection.receives_notices() || !is_announced) co_await start_notices(connection, *this, until);
    const auto longest = connection.context().options.polling_interval;
    if (connection.receives_notices()) {
        const auto now = Clock::now();
        const bool lost = std::exchange(notified_, false);
        const auto pause_until = lost ? now + contention_.on_lost(now, random_share()) : contention_.rests_until();
        if (pause_until > now) {
            phase_ = Phase::pause;
            due_ = Deadline::at(pause_until);
            co_return;
        }
        if (!is_watched_ || (lost && is_count_due())) {
            const bool has_messages = co_await look(connection, contention_.has_rivals(), deadline);
            if (has_messages) co_return;
        }
        look_interval_ = longest;
    } else if (look_interval_.count() == 0) {
        look_interval_ = std::min<decltype(look_interval_)>(first_look, longest);
    }
    start_watching();
}

void WaitedQueue::start_watching() {
    if (next_look_.expired()) next_look_ = Deadline::after(look_interval_);
    contention_.on_waiting(Clock::now());
    phase_ = Phase::watch;
    due_ = next_look_;
}

async::Operation<std::optional<ReceivedMessage>> wait_for_message(RedisConnection& connection, WaitedQueue& queue,
                                                                  SubscriptionBuffer* inbox, Deadline until,
                                                                  Deadline deadline) {
    SessionContext& context = connection.context();
    connection.poll_subscriber();
    queue.begin_wait(connection, until);
    for (bool has_waited = false;;) {
        std::optional<ReceivedMessage> message = inbox ? pop_message(*inbox, context.session.peer()) : std::nullopt;
        if (message) co_return message;
        if (queue.is_due()) {
            auto messages = co_await queue.proceed(connection, 1, until, deadline);
            if (!messages.empty()) co_return std::move(messages.front());
            if (!until.expired()) continue;
        }
        if (until.expired() && !has_waited) co_return std::nullopt;
        if (until.expired()) break;
        has_waited = true;
        const Deadline next = std::min({until, queue.due(), context.restore_timer.next()});
        co_await connection.check_subscriber();
        co_await connection.wait_for_input(std::min(next, connection.next_subscriber_check()), false);
        queue.check_notice(connection);
        if (context.restore_timer.next().expired() && !queue.is_due()) {
            co_await connection.run(restore_if_due(context, until), deadline);
            queue.on_restored(context);
        }
    }
    std::optional<ReceivedMessage> message;
    auto messages = co_await queue.last_look(connection, 1, until, deadline);
    if (!messages.empty()) message = std::move(messages.front());
    co_return message;
}

}  // namespace kombu::redis
