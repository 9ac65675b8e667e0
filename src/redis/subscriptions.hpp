#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// What has been published to the fanout exchanges that one channel's queue is bound to, and has not been taken yet.
/// Redis keeps nothing for subscribers; neither does an inbox that nobody empties: the oldest messages go.
class Inbox {
public:
    static constexpr std::size_t max_messages = 100'000;
    static constexpr std::size_t max_bytes = std::size_t{64} << 20;

    /// False when an older message had to go.
    bool put(std::string message);
    void put_back(std::string message);
    bool empty() const noexcept { return messages_.empty(); }
    std::size_t size() const noexcept { return messages_.size(); }
    std::string take();
    void clear() noexcept;

private:
    std::deque<std::string> messages_{};
    std::size_t bytes_ = 0;
};

/// Which inboxes of a session listen to which patterns of channels.
class Subscriptions {
public:
    /// Whether Redis has to be told.
    bool add(const std::string& pattern, Inbox& inbox);
    /// The patterns that nobody listens to any more.
    std::vector<std::string> remove(const Inbox& inbox);
    /// False when a message was dropped.
    bool deliver(std::string_view pattern, const std::string& message);

private:
    std::map<std::string, std::vector<Inbox*>, std::less<>> listeners_{};
};

}  // namespace kombu::redis
