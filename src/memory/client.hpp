// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/process.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

namespace kombu::memory {

/// One copy of a message in a queue. The content is shared between the copies.
struct QueuedMessage {
    std::shared_ptr<const OutgoingMessage> content{};
    std::uint64_t position = 0;
    bool redelivered = false;
    /// How often it came back to a quorum queue; classic queues do not count.
    std::uint64_t delivery_count = 0;
    /// When it leaves its queue at the latest.
    Clock::time_point expires = Clock::time_point::max();
};

/// A message removed from a queue, and the queue to which it is requeued.
struct ReservedMessage {
    std::string queue{};
    std::uint64_t queue_id = 0;
    QueuedMessage message{};
};

/// A connection, as the broker sees it. An exclusive queue belongs to one client, and a client can be interrupted.
struct Client {
    std::atomic<bool> interrupted{false};
    std::atomic<bool> closed{false};
    /// The number of events in the inboxes of its channels, and the operation that waits for one; under the broker's
    /// mutex.
    std::size_t events = 0;
    async::Waker* waker = nullptr;
    const std::uint32_t epoch = kombu::detail::fork_epoch();
    /// True in a forked child. The broker may be inconsistent there and must not be touched.
    bool is_inherited() const noexcept { return epoch != kombu::detail::fork_epoch(); }
    /// Throws ConnectionError when the client may not use the broker.
    void check() const;
};

/// What a consumer of a channel has received: a message, or none when its queue was deleted.
struct InboxEvent {
    std::string consumer_tag{};
    std::optional<ReservedMessage> message{};
};

/// A consumer. It belongs to a channel; the broker's mutex guards it and its inbox.
struct Consumer {
    std::string tag{}, queue{};
    std::uint64_t queue_id = 0;
    Client* client = nullptr;
    std::deque<InboxEvent>* inbox = nullptr;
    bool exclusive = false;
    int priority = 0;
    /// The number of messages that it may have unsettled; 0: no limit.
    std::size_t prefetch_count = 0;
    bool no_ack = false;
    std::size_t unsettled = 0;
    bool is_active = false;

    bool has_capacity() const noexcept { return prefetch_count == 0 || unsettled < prefetch_count; }
    /// Adds an event to the inbox: a message, or none when the queue was deleted.
    void push_event(std::optional<ReservedMessage> message);
};

}  // namespace kombu::memory
