// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/failover.hpp>

#include <algorithm>
#include <iterator>

namespace kombu {

FailoverStrategy::FailoverStrategy(std::string name) : name_(std::move(name)) {
    constexpr std::string_view known[] = {"round-robin", "shuffle", "least-connections"};
    if (std::ranges::find(known, name_) == std::end(known))
        throw ConfigurationError("failover_strategy: round-robin, shuffle or least-connections, not " +
                                 name_.substr(0, 100));
}

}  // namespace kombu
