// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include "support/utf8.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace kombu {

inline bool is_one_of(std::string_view text, std::initializer_list<std::string_view> candidates) {
    return std::find(candidates.begin(), candidates.end(), text) != candidates.end();
}

/// Checks that a name fits into an AMQP short string and is UTF-8, as AMQP demands. Throws ConfigurationError that
/// names the field.
inline void check_name(std::string_view name, const char* field) {
    if (name.size() > 255) throw ConfigurationError(std::string{field} + ": longer than 255 bytes");
    if (name.find('\0') != std::string_view::npos)
        throw ConfigurationError(std::string{field} + ": contains a NUL character");
    if (!is_utf8(name)) throw ConfigurationError(std::string{field} + ": not valid UTF-8");
}

/// Rounds to whole milliseconds, the unit of brokers. Throws ConfigurationError that names the field when the time is
/// negative, not a number, or more than 32 bits can hold.
inline std::int64_t to_milliseconds(std::chrono::duration<double> time, const char* field) {
    const double count = std::round(time.count() * 1000);
    if (!(count >= 0 && count <= 4294967295.0))
        throw ConfigurationError(std::string{field} + ": must be from 0 to 4294967 seconds");
    return static_cast<std::int64_t>(count);
}

}  // namespace kombu
