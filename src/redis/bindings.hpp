#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// One way from an exchange to a queue, as a member of the exchange's set.
struct BoundQueue {
    std::string routing_key{};
    /// For topics: what Python matches with.
    std::string pattern{};
    std::string queue{};

    static BoundQueue make(std::string_view exchange_type, std::string_view routing_key, std::string_view queue);
    std::string member(std::string_view separator) const;
    static BoundQueue parse(std::string_view member, std::string_view separator);
};

/// The queues that a message goes to, each once. A member with a pattern is a topic's, whatever the exchange is thought
/// to be; an empty pattern of a topic exchange lets everything through, as in Kombu.
std::vector<std::string> route(const std::vector<BoundQueue>& bindings, std::string_view exchange_type,
                               std::string_view routing_key);

/// What a session knows of bindings. Redis tells a session when a set that it has read is changed, before it answers
/// anything that it was asked after the change (client-side caching). So who asks after the answer to a publish whether
/// an entry is still the one that it used knows whether it was right.
class BindingCache {
public:
    struct Entry {
        std::vector<BoundQueue> bindings{};
        /// Differs from that of every entry before and after it.
        std::uint64_t version = 0;
        bool loaded = false;
    };

    /// Null when nothing is known.
    const Entry* find(std::string_view key) const;
    /// Before a set is read. Returns the version of the entry that it will make.
    std::uint64_t begin_reading(std::string key);
    /// What was read. When the set was changed meanwhile the entry is not current from the first; it lives until the
    /// next one is stored.
    const Entry& store(std::string_view key, std::uint64_t version, std::vector<BoundQueue> bindings);
    bool is_current(std::string_view key, std::uint64_t version) const;
    void forget(std::string_view key);
    void clear() { entries_.clear(); }

private:
    std::map<std::string, Entry, std::less<>> entries_{};
    Entry outdated_{};
    std::uint64_t versions_ = 0;
};

}  // namespace kombu::redis
