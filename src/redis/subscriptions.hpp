// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// Messages of a queue's fanout exchanges that one channel has not received yet. Redis stores nothing for subscribers.
/// A buffer that exceeds its limits drops its oldest messages.
class SubscriptionBuffer {
public:
    static constexpr std::size_t max_messages = 100'000;
    static constexpr std::size_t max_bytes = std::size_t{64} << 20;

    /// Returns false if an older message was dropped.
    bool push(std::string message);
    void push_front(std::string message);
    bool empty() const noexcept { return messages_.empty(); }
    std::size_t size() const noexcept { return messages_.size(); }
    std::string pop();
    void clear() noexcept;

private:
    std::deque<std::string> messages_{};
    std::size_t bytes_ = 0;
};

/// Maps patterns of Pub/Sub channels to the buffers of a session that are subscribed to them.
class Subscriptions {
public:
    bool empty() const noexcept { return buffers_.empty(); }
    /// Returns whether PSUBSCRIBE must be sent.
    bool add(const std::string& pattern, SubscriptionBuffer& buffer);
    /// Returns the patterns that are no longer used, for PUNSUBSCRIBE.
    std::vector<std::string> remove(const SubscriptionBuffer& buffer);
    /// Returns false if a buffer dropped a message.
    bool deliver(std::string_view pattern, const std::string& message);

private:
    std::map<std::string, std::vector<SubscriptionBuffer*>, std::less<>> buffers_{};
};

}  // namespace kombu::redis
