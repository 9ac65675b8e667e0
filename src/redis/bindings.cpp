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

const KnownBindings::Entry* KnownBindings::find(std::string_view key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() ? nullptr : &found->second;
}

const KnownBindings::Entry& KnownBindings::store(const std::string& key, const Reply& members,
                                                 std::string_view separator) {
    Entry& entry = entries_[key];
    const auto same_text = [](const std::string& known, const Reply& read) { return known == read.text; };
    const bool unchanged =
        entry.version != 0 && std::equal(entry.members.begin(), entry.members.end(), members.elements.begin(),
                                         members.elements.end(), same_text);
    if (unchanged) return entry;
    std::vector<std::string> texts;
    for (const Reply& member : members.elements) texts.push_back(member.text);
    // The server's order changes also when it reorganises the set.
    const auto sorted = [](std::vector<std::string> list) {
        std::sort(list.begin(), list.end());
        return list;
    };
    const bool same_set = entry.version != 0 && sorted(texts) == sorted(entry.members);
    entry.members = std::move(texts);
    if (same_set) return entry;
    entry.version = ++changes_;
    entry.bindings.clear();
    for (const std::string& member : entry.members) entry.bindings.push_back(BoundQueue::parse(member, separator));
    return entry;
}

bool KnownBindings::is_current(std::string_view key, std::uint64_t version) const {
    const Entry* const entry = find(key);
    return entry && entry->version == version;
}

void KnownBindings::forget(std::string_view key) {
    ++changes_;
    if (const auto found = entries_.find(key); found != entries_.end()) entries_.erase(found);
}

}  // namespace kombu::redis
