// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace kombu {

/// What the values of headers, arguments or a body may be. Everywhere text is UTF-8.
struct ValueRules {
    std::size_t max_depth = 256;
    std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
    bool allows_binary = true;
    /// The timestamps and decimals of kombu/field.hpp.
    bool allows_fields = true;
    bool allows_infinite = false;
    /// Integers from 2^63.
    bool allows_large_integers = true;
};

/// Tables of AMQP.
inline constexpr ValueRules amqp_rules{.max_depth = 32, .max_key_size = 255, .allows_large_integers = false};
inline constexpr ValueRules json_rules{.allows_binary = false};

/// Describes the first value that is not allowed, with its path: "headers.price[2]: not a finite number".
std::optional<std::string> find_forbidden_value(const Json& value, std::string_view root, const ValueRules& rules);

/// \throws EncodeError  when a value is not allowed
void check_headers(const Json& headers, const ValueRules& rules);

/// \throws ConfigurationError  when the arguments are no object, or a value is not allowed
void check_arguments(const Json& arguments, const char* name);

}  // namespace kombu
