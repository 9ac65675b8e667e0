// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/url.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kombu {

/// The order in which the endpoints of a broker are tried. A name:
/// * "round-robin": as listed, starting with the last one that worked; the default
/// * "shuffle": at random
/// * "least-connections": those with the fewest connections of the same pool first; without a pool as round-robin
///
/// Or a function. Strategies are equal when their names are, or one function is a copy of the other.
///
/// \par Thread safety
/// As for any value. Copies share the function, which may be called on several threads at once.
/// \par Kombu
/// `failover_strategy` of `kombu.Connection`
class KOMBU_EXPORT FailoverStrategy {
public:
    /// Called at each connect. Gets the endpoints in their order, and the index of the one that worked last, which is
    /// moved on when it has failed. Returns the indexes of those to try, in the order of the attempts. What it throws
    /// ends the connect.
    using Function = std::function<std::vector<std::size_t>(std::span<const Endpoint> endpoints, std::size_t last)>;

    FailoverStrategy() : FailoverStrategy(std::string{"round-robin"}) {}
    /// \throws ConfigurationError  for an unknown name
    FailoverStrategy(std::string name);
    /// As that of a string.
    FailoverStrategy(const char* name) : FailoverStrategy(std::string{name}) {}
    /// An order of one's own: see Function.
    template <class Order>
    requires std::invocable<Order&, std::span<const Endpoint>, std::size_t> FailoverStrategy(Order order)
        : name_("function"), function_(std::make_shared<const Function>(std::move(order))) {}

    /// The name; "function" for a function.
    const std::string& name() const noexcept { return name_; }
    /// Null for a name.
    const std::shared_ptr<const Function>& function() const noexcept { return function_; }
    friend bool operator==(const FailoverStrategy&, const FailoverStrategy&) = default;

private:
    std::string name_;
    std::shared_ptr<const Function> function_{};
};

}  // namespace kombu
