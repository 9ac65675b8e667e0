#include "redis/keys.hpp"

#include <algorithm>
#include <cstddef>

namespace kombu::redis {

std::string escaped_glob(std::string_view text) {
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
      steps_(options.priority_steps),
      unacked_(prefix_ + options.unacked_key),
      unacked_index_(prefix_ + options.unacked_index_key),
      unacked_mutex_(prefix_ + options.unacked_mutex_key),
      fanout_prefix_(options.fanout_prefix),
      fanout_patterns_(options.fanout_patterns) {
    constexpr std::string_view place = "{db}";
    if (const std::size_t at = fanout_prefix_.find(place); at != std::string::npos)
        fanout_prefix_.replace(at, place.size(), std::to_string(database));
    fanout_prefix_.insert(0, prefix_);
}

std::string Keys::queue(std::string_view name, int priority) const {
    const auto above = std::upper_bound(steps_.begin(), steps_.end(), std::clamp(priority, 0, 9));
    const int step = above == steps_.begin() ? 0 : *std::prev(above);
    std::string key = prefix_;
    key += name;
    if (step != 0) {
        key += separator_;
        key += std::to_string(step);
    }
    return key;
}

std::vector<std::string> Keys::all_of_queue(std::string_view name) const {
    std::vector<std::string> keys;
    for (const int step : steps_) keys.push_back(queue(name, step));
    return keys;
}

std::string Keys::all_bindings() const { return escaped_glob(prefix_ + binding_prefix) + '*'; }

std::string Keys::fanout(std::string_view exchange, std::string_view routing_key) const {
    std::string channel = fanout_prefix_ + std::string{exchange};
    if (fanout_patterns_ && !routing_key.empty()) channel.append("/").append(routing_key);
    return channel;
}

std::vector<std::string> Keys::fanout_patterns(std::string_view exchange, std::string_view binding_key) const {
    const std::string channel = escaped_glob(fanout_prefix_ + std::string{exchange});
    if (!fanout_patterns_) return {channel};
    // A queue bound without a key gets everything, as on any other broker.
    if (binding_key.empty()) return {channel, channel + "/*"};
    std::string key{binding_key};
    std::replace(key.begin(), key.end(), '#', '*');
    return {channel + '/' + key};
}

}  // namespace kombu::redis
