// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

namespace kombu::redis {

/// The messages that consumers of a connection hold, by their tags in the unacked hash. They are renewed, so that
/// nobody restores them while the consumer lives. Thread-safe: another thread renews while a handler runs.
class HeldMessages {
public:
    explicit HeldMessages(std::chrono::nanoseconds visibility_timeout) : interval_(visibility_timeout / 3) {}

    std::chrono::nanoseconds interval() const noexcept { return interval_; }
    void add(const std::string& tag) {
        const std::lock_guard lock{mutex_};
        if (tags_.empty()) next_renewal_ = Deadline::after(interval_);
        tags_.insert(tag);
    }
    void remove(const std::string& tag) noexcept {
        const std::lock_guard lock{mutex_};
        tags_.erase(tag);
    }
    /// When to renew.
    Deadline next_renewal() const {
        const std::lock_guard lock{mutex_};
        return tags_.empty() ? Deadline::never() : next_renewal_;
    }
    /// The tags to renew now; none before next_renewal().
    std::vector<std::string> take_due() {
        const std::lock_guard lock{mutex_};
        if (tags_.empty() || !next_renewal_.expired()) return {};
        next_renewal_ = Deadline::after(interval_);
        return {tags_.begin(), tags_.end()};
    }

private:
    const std::chrono::nanoseconds interval_;
    mutable std::mutex mutex_{};
    std::unordered_set<std::string> tags_{};
    Deadline next_renewal_ = Deadline::never();
};

}  // namespace kombu::redis
