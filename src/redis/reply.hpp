// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kombu::redis {

/// A reply of RESP 2, the protocol of Redis.
struct Reply {
    enum class Type : std::uint8_t { nil, status, error, integer, text, array };

    Type type = Type::nil;
    std::int64_t integer = 0;
    /// Of a status, an error and a text.
    std::string text{};
    std::vector<Reply> elements{};

    bool is(Type of) const noexcept { return type == of; }
};

}  // namespace kombu::redis
