// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redis/session.hpp"
#include "redis/subscriptions.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kombu::redis {

/// The session of a connection's second socket, which has subscribed to channels: the messages of fanout exchanges, and
/// notices that a key has changed which the first socket had read (CLIENT TRACKING with REDIRECT).
class SubscriberSession final : public Session {
public:
    using Session::Session;

    /// The channel of the notices.
    static constexpr const char* notice_channel = "__redis__:invalidate";

    Subscriptions& subscriptions() noexcept { return subscriptions_; }

    /// Subscribes to a channel, without waiting, so that others can count the subscribers.
    void announce(const std::string& channel);
    /// Ends what one call of announce() has begun.
    void withdraw(const std::string& channel);

    /// Forgets the changes of these keys; from now on they count.
    void watch(const std::vector<std::string>& keys) {
        for (const std::string& key : keys) changed_keys_[key] = false;
    }
    /// Whether one of these keys may have changed since the last call of watch() for it.
    bool has_notice(const std::vector<std::string>& keys) const noexcept {
        return std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
            const auto found = changed_keys_.find(key);
            return found != changed_keys_.end() && found->second;
        });
    }
    void unwatch(const std::vector<std::string>& keys) noexcept {
        for (const std::string& key : keys) changed_keys_.erase(key);
    }

private:
    void on_reply(Reply&& reply) override;

    Subscriptions subscriptions_{};
    std::map<std::string, int> announcements_{};
    std::map<std::string, bool, std::less<>> changed_keys_{};  // of the watched keys, whether they have changed
};

}  // namespace kombu::redis
