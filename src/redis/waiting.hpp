// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>

#include "redis/contention.hpp"
#include "redis/operations.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace kombu::redis {

class RedisConnection;

/// A queue with what its consumer knows of it from one wait to the next.
struct WaitedQueue : ReceivedQueue {
    WaitedQueue(const SessionContext& link, const std::string& queue, bool track)
        : ReceivedQueue(link, queue, track),
          waiting_channel(link.keys.waiting_channel(queue)),
          contention(link.options.polling_interval) {}

    /// Each consumer that has waited for the queue has subscribed to it, so that they can be counted.
    std::string waiting_channel;
    bool is_announced = false;
    Contention contention;
    Clock::time_point counted_at{};
    /// SessionContext::writes when the queue was last seen empty, and whether the server reports changes since.
    std::uint64_t seen_empty_at = no_write;
    bool is_watched = false;
    static constexpr std::uint64_t no_write = std::uint64_t(-1);
    /// When to look at the queue without a notice, and after which time again.
    Deadline next_look = Deadline::at({});
    std::chrono::nanoseconds look_interval{0};
};

/// Waits until `until` for a message from the queue, or from `inbox` unless that is null. Each request on the way has
/// the deadline `deadline`. While it waits no command is outstanding: a wait that ends or is cancelled costs nothing.
async::Operation<std::optional<ReceivedMessage>> wait_for_message(RedisConnection& connection, WaitedQueue& queue,
                                                                  SubscriptionBuffer* inbox, Deadline until,
                                                                  Deadline deadline);

}  // namespace kombu::redis
