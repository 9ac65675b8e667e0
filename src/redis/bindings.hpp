// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// A binding of a queue to an exchange, as stored in the exchange's Redis set.
struct BoundQueue {
    std::string routing_key{};
    /// Topic exchanges only: the regular expression that Kombu in Python matches with.
    std::string pattern{};
    std::string queue{};

    static BoundQueue make(std::string_view exchange_type, std::string_view routing_key, std::string_view queue);
    std::string to_set_member(std::string_view separator) const;
    static BoundQueue parse(std::string_view member, std::string_view separator);
};

/// The queues that a message is routed to, without duplicates. A binding with a pattern is matched as a topic binding,
/// whatever `exchange_type` is. A topic exchange's binding without a pattern matches every key, as in Kombu.
std::vector<std::string> matching_queues(const std::vector<BoundQueue>& bindings, std::string_view exchange_type,
                                         std::string_view routing_key);

/// The bindings that a session has read. Redis reports a change of a cached set before it replies to any command that
/// it executes after the change (client-side caching). So an entry that is current after the reply to a publish was
/// correct when Redis executed the publish.
class BindingCache {
public:
    struct Entry {
        std::vector<BoundQueue> bindings{};
        /// Unique within the cache.
        std::uint64_t version = 0;
        bool loaded = false;
    };

    /// Returns null if the set is not cached.
    const Entry* find(std::string_view key) const;
    /// Call before a set is read. Returns the version to pass to store().
    std::uint64_t begin_load(std::string key);
    /// Stores the bindings that were read. If the set was changed meanwhile, the returned entry is not current, and
    /// valid only until the next call of store().
    const Entry& store(std::string_view key, std::uint64_t version, std::vector<BoundQueue> bindings);
    bool is_current(std::string_view key, std::uint64_t version) const;
    void invalidate(std::string_view key);
    void clear() { entries_.clear(); }

private:
    std::map<std::string, Entry, std::less<>> entries_{};
    Entry outdated_{};
    std::uint64_t last_version_ = 0;
};

}  // namespace kombu::redis
