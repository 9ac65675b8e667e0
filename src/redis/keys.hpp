// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redis/options.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// The names of keys and channels in Redis, which are Kombu's (see docs/redis.md).
class Keys {
public:
    Keys(const Options& options, int database);

    /// The key of a queue's list for messages of that priority.
    std::string queue(std::string_view name, int priority = 0) const;
    /// The keys of all lists of a queue, in the order in which they are served.
    std::vector<std::string> queue_lists(std::string_view name) const;
    /// The list for undeliverable messages of a queue (the poison list).
    std::string poison(std::string_view queue) const { return prefix_ + "_kombu.poison." + std::string{queue}; }

    /// The sorted set of messages that will go to a list, by their times.
    static std::string delayed(std::string_view list) { return std::string{list} + "._kombu.delayed"; }

    /// The Pub/Sub channel that the consumers which wait for a queue subscribe to.
    std::string waiting_channel(std::string_view queue) const {
        return prefix_ + "_kombu.waiting." + std::string{queue};
    }

    /// Of a key that others name.
    std::string value(std::string_view key) const { return prefix_ + std::string{key}; }
    std::string bindings(std::string_view exchange) const { return prefix_ + binding_prefix + std::string{exchange}; }
    /// The pattern for SCAN that matches the sets of bindings of all exchanges.
    std::string bindings_pattern() const;

    const std::string& unacked() const noexcept { return unacked_; }
    const std::string& unacked_index() const noexcept { return unacked_index_; }
    const std::string& unacked_mutex() const noexcept { return unacked_mutex_; }

    /// The Pub/Sub channel of a fanout exchange; with `fanout_patterns` each routing key has its own.
    std::string fanout_channel(std::string_view exchange, std::string_view routing_key) const;
    /// The patterns of channels that a queue bound with that key subscribes to.
    std::vector<std::string> fanout_patterns(std::string_view exchange, std::string_view binding_key) const;

private:
    static constexpr const char* binding_prefix = "_kombu.binding.";

    std::string prefix_;
    std::string separator_;
    std::vector<int> priority_steps_;
    std::string unacked_, unacked_index_, unacked_mutex_;
    std::string fanout_prefix_;
    bool fanout_patterns_;
};

/// Returns a glob pattern that matches only `text`.
std::string escape_glob(std::string_view text);

}  // namespace kombu::redis
