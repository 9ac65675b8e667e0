// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redis/session.hpp"
#include "redis/subscriptions.hpp"

#include <map>
#include <set>
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

    /// Chooses the keys whose changes count, and clears has_notice().
    void watch(const std::vector<std::string>& keys) {
        watched_keys_ = {keys.begin(), keys.end()};
        has_notice_ = false;
    }
    /// Whether a watched key may have changed since the last call of watch().
    bool has_notice() const noexcept { return has_notice_; }

private:
    void on_reply(Reply reply) override;

    Subscriptions subscriptions_{};
    std::map<std::string, int> announcements_{};
    std::set<std::string, std::less<>> watched_keys_{};
    bool has_notice_ = false;
};

}  // namespace kombu::redis
