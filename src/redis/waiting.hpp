// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>

#include "redis/contention.hpp"
#include "redis/operations.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kombu::redis {

class RedisConnection;

/// A queue with what its consumer knows of it from one wait to the next, and what it does next.
class WaitedQueue : public ReceivedQueue {
public:
    WaitedQueue(const SessionContext& link, const std::string& queue, bool track)
        : ReceivedQueue(link, queue, track),
          waiting_channel(link.keys.waiting_channel(queue)),
          contention_(link.options.polling_interval) {}

    /// Each consumer that has waited for the queue has subscribed to it, so that they can be counted.
    std::string waiting_channel;
    bool is_announced = false;
    /// When delayed messages may be due.
    Deadline next_delayed = Deadline::at({});

    /// Call when a wait begins: finds out whether the queue must be looked at.
    void begin_wait(RedisConnection& connection, Deadline until);
    /// The same for a wait that goes on after an interruption.
    void continue_wait(RedisConnection& connection, Deadline until);
    /// Call when input has arrived: notes that the queue has changed.
    void check_notice(RedisConnection& connection);
    /// Whether there is something to do now, and otherwise when there is.
    bool is_due() const noexcept { return phase_ == Phase::receive || phase_ == Phase::empty || due_.expired(); }
    Deadline due() const noexcept { return due_; }
    /// Does it. Returns up to `count` messages. Each request has the deadline `deadline`; `until` is the end of the
    /// wait.
    async::Operation<std::vector<ReceivedMessage>> proceed(RedisConnection& connection, std::size_t count,
                                                           Deadline until, Deadline deadline);
    /// The last look of a wait that ends: on a server that sends no notices, or after one.
    async::Operation<std::vector<ReceivedMessage>> last_look(RedisConnection& connection, std::size_t count,
                                                             Deadline until, Deadline deadline);
    /// Messages were restored: perhaps to this queue.
    void on_restored(const SessionContext& link) noexcept {
        if (phase_ != Phase::receive && seen_empty_at_ != link.writes) phase_ = Phase::receive;
    }

private:
    enum class Phase : std::uint8_t {
        receive,  // it may have messages
        empty,    // it was found empty
        pause,    // others are served first; then look
        watch,    // wait for a notice, or until it is time to look
        yield,    // there was a notice, and others come first; then look
    };

    async::Operation<std::vector<ReceivedMessage>> receive(RedisConnection& connection, std::size_t count,
                                                           Deadline until, Deadline deadline);
    /// Looks at the queue without receiving, and changes the phase to `receive` if it has messages.
    async::Operation<bool> look(RedisConnection& connection, bool count_consumers, Deadline deadline);
    async::Operation<> on_empty(RedisConnection& connection, Deadline until, Deadline deadline);
    void start_watching();
    bool is_count_due() const;

    Phase phase_ = Phase::receive;
    Deadline due_ = Deadline::never();
    Contention contention_;
    Clock::time_point counted_at_{};
    bool notified_ = false;
    /// SessionContext::writes when the queue was last seen empty, and whether the server reports changes since.
    std::uint64_t seen_empty_at_ = no_write;
    bool is_watched_ = false;
    static constexpr std::uint64_t no_write = std::uint64_t(-1);
    /// When to look at the queue without a notice, and after which time again.
    Deadline next_look_ = Deadline::at({});
    std::chrono::nanoseconds look_interval_{0};
};

/// Waits until `until` for messages of the queue, `count` at most, or for those in `inbox` unless that is null. Each
/// request on the way has the deadline `deadline`. While it waits no command is outstanding: a wait that ends or is
/// cancelled costs nothing.
async::Operation<std::optional<ReceivedMessage>> wait_for_message(RedisConnection& connection, WaitedQueue& queue,
                                                                  SubscriptionBuffer* inbox, Deadline until,
                                                                  Deadline deadline);

}  // namespace kombu::redis
