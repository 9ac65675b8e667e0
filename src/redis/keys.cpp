// SPDX-License-Identifier: BSD-3-Clause
#include "redis/keys.hpp"

#include <algorithm>
#include <cstddef>

namespace kombu::redis {

std::string escape_glob(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

Keys::Keys(const Options& options, int database)
    : prefix_(options.global_keyprefix),
      separator_(options.separator),
      priority_steps_(options.priority_steps),
      unacked_(prefix_ + options.unacked_key),
      unacked_index_(prefix_ + options.unacked_index_key),
      unacked_mutex_(prefix_ + options.unacked_mutex_key),
      fanout_prefix_(options.fanout_prefix),
      fanout_patterns_(options.fanout_patterns) {
    constexpr std::string_view placeholder = "{db}";
    if (const std::size_t at = fanout_prefix_.find(placeholder); at != std::string::npos)
        fanout_prefix_.replace(at, placeholder.size(), std::to_string(database));
    fanout_prefix_.insert(0, prefix_);
}

std::string Keys::queue(std::string_view name, int priority) const {
    const auto above = std::upper_bound(priority_steps_.begin(), priority_steps_.end(), std::clamp(priority, 0, 9));
    const int step = above == priority_steps_.begin() ? 0 : *std::prev(above);
    std::string key = prefix_;
    key += name;
    if (step != 0) {
        key += separator_;
        key += std::to_string(step);
    }
    return key;
}

std::vector<std::string> Keys::queue_lists(std::string_view name) const {
    std::vector<std::string> keys;
    for (const int step : priority_steps_) keys.push_back(queue(name, step));
    return keys;
}

std::string Keys::bindings_pattern() const { return escape_glob(prefix_ + binding_prefix) + '*'; }

std::string Keys::fanout_channel(std::string_view exchange, std::string_view routing_key) const {
    std::string channel = fanout_prefix_ + std::string{exchange};
    if (fanout_patterns_ && !routing_key.empty()) channel.append("/").append(routing_key);
    return channel;
}

std::vector<std::string> Keys::fanout_patterns(std::string_view exchange, std::string_view binding_key) const {
    const std::string channel = escape_glob(fanout_prefix_ + std::string{exchange});
    if (!fanout_patterns_) return {channel};
    // A queue bound without a key receives every message, as on any other broker.
    if (binding_key.empty()) return {channel, channel + "/*"};
    std::string key{binding_key};
    std::replace(key.begin(), key.end(), '#', '*');
    return {channel + '/' + key};
}

}  // namespace kombu::redis
