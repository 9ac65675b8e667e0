// SPDX-License-Identifier: BSD-3-Clause
#include "redis/bindings.hpp"

#include "virtual/routing.hpp"
#include "virtual/topic_pattern.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {

BoundQueue BoundQueue::make(std::string_view exchange_type, std::string_view routing_key, std::string_view queue) {
    return {std::string{routing_key}, exchange_type == "topic" ? routing::kombu_topic_regex(routing_key) : "",
            std::string{queue}};
}

std::string BoundQueue::to_set_member(std::string_view separator) const {
    std::string text = routing_key;
    text.append(separator).append(pattern).append(separator).append(queue);
    return text;
}

BoundQueue BoundQueue::parse(std::string_view member, std::string_view separator) {
    const auto next_field = [&] {
        const std::size_t end = std::min(member.find(separator), member.size());
        std::string text{member.substr(0, end)};
        member.remove_prefix(std::min(end + separator.size(), member.size()));
        return text;
    };
    BoundQueue bound;
    bound.routing_key = next_field();
    bound.pattern = next_field();
    bound.queue = member;
    return bound;
}

std::vector<std::string> matching_queues(const std::vector<BoundQueue>& bindings, std::string_view exchange_type,
                                         std::string_view routing_key) {
    std::vector<std::string> queues;
    for (const BoundQueue& bound : bindings) {
        if (bound.queue.empty()) continue;
        const bool matches = !bound.pattern.empty()     ? routing::topic_matches(bound.routing_key, routing_key)
                             : exchange_type == "topic" ? true
                                                        : bound.routing_key == routing_key;
        if (matches && std::find(queues.begin(), queues.end(), bound.queue) == queues.end())
            queues.push_back(bound.queue);
    }
    return queues;
}

const BindingCache::Entry* BindingCache::find(std::string_view key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() || !found->second.loaded ? nullptr : &found->second;
}

std::uint64_t BindingCache::begin_load(std::string key) {
    entries_.insert_or_assign(std::move(key), Entry{.version = ++last_version_});
    return last_version_;
}

const BindingCache::Entry& BindingCache::store(std::string_view key, std::uint64_t version,
                                               std::vector<BoundQueue> bindings) {
    const auto found = entries_.find(key);
    Entry& entry = found != entries_.end() && found->second.version == version ? found->second : outdated_;
    entry = {std::move(bindings), version, true};
    return entry;
}

bool BindingCache::is_current(std::string_view key, std::uint64_t version) const {
    const Entry* const entry = find(key);
    return entry && entry->version == version;
}

void BindingCache::invalidate(std::string_view key) {
    if (const auto found = entries_.find(key); found != entries_.end()) entries_.erase(found);
}

}  // namespace kombu::redis
