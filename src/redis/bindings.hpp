// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redis/reply.hpp"

#include <cstdint>
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

/// The bindings that a session has read last. They may have changed since: a publish reads them again after it has
/// stored its message, and compares.
class KnownBindings {
public:
    struct Entry {
        std::vector<BoundQueue> bindings{};
        /// Changes whenever the bindings do. Unique within the session.
        std::uint64_t version = 0;
        /// The members of the set, in the server's order.
        std::vector<std::string> members{};
    };

    /// Returns null if the set was not read, or was changed by this session since.
    const Entry* find(std::string_view key) const;
    /// Stores what was read.
    const Entry& store(const std::string& key, const Reply& members, std::string_view separator);
    bool is_current(std::string_view key, std::uint64_t version) const;
    void forget(std::string_view key);
    /// Differs after each change of any entry.
    std::uint64_t changes() const noexcept { return changes_; }

private:
    std::map<std::string, Entry, std::less<>> entries_{};
    std::uint64_t changes_ = 0;
};

}  // namespace kombu::redis
