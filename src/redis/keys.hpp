#pragma once

#include "redis/options.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// What things are called in Redis (see docs/redis.md); the same names as Kombu's.
class Keys {
public:
    Keys(const Options& options, int database);

    /// The list of a queue for messages of that priority.
    std::string queue(std::string_view name, int priority = 0) const;
    /// All lists of a queue, in the order in which they are served.
    std::vector<std::string> all_of_queue(std::string_view name) const;
    /// Where messages of a queue go that cannot be delivered.
    std::string poison(std::string_view queue) const { return prefix_ + "_kombu.poison." + std::string{queue}; }

    std::string bindings(std::string_view exchange) const { return prefix_ + binding_prefix + std::string{exchange}; }
    /// For SCAN.
    std::string all_bindings() const;

    const std::string& unacked() const noexcept { return unacked_; }
    const std::string& unacked_index() const noexcept { return unacked_index_; }
    const std::string& unacked_mutex() const noexcept { return unacked_mutex_; }

    /// The channel of a fanout exchange, for one routing key when exchanges have one for each.
    std::string fanout(std::string_view exchange, std::string_view routing_key) const;
    /// The patterns of channels that a queue bound with that key listens to.
    std::vector<std::string> fanout_patterns(std::string_view exchange, std::string_view binding_key) const;

private:
    static constexpr const char* binding_prefix = "_kombu.binding.";

    std::string prefix_;
    std::string separator_;
    std::vector<int> steps_;
    std::string unacked_, unacked_index_, unacked_mutex_;
    std::string fanout_prefix_;
    bool fanout_patterns_;
};

/// Text as a glob pattern that matches only itself.
std::string escaped_glob(std::string_view text);

}  // namespace kombu::redis
