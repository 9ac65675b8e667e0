// SPDX-License-Identifier: BSD-3-Clause
// Replies of a Redis server, whole and in pieces: both mean the same.
#include "fuzz.hpp"
#include "net/session_base.hpp"
#include "redis/reply_reader.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace {

/// The replies as text, up to an error.
std::string read_all(std::string_view input, std::size_t piece) {
    kombu::redis::ReplyReader reader;
    std::string seen;
    const auto append = [&](const auto& self, const kombu::redis::Reply& reply) -> void {
        seen += std::to_string(static_cast<int>(reply.type)) + ':' + std::to_string(reply.integer) + reply.text + '(';
        for (const auto& element : reply.elements) self(self, element);
        seen += ')';
    };
    try {
        while (!input.empty()) {
            const auto [space, size] = reader.space();
            const std::size_t count = std::min({piece, size, input.size()});
            std::memcpy(space, input.data(), count);
            input.remove_prefix(count);
            reader.added(count);
            while (const auto reply = reader.next()) append(append, *reply);
        }
    } catch (const kombu::net::InvalidInput&) {
        seen += "invalid";
    }
    return seen;
}

}  // namespace

void fuzz(std::string_view input) {
    const std::size_t piece = 1 + take_byte(input) % 16;
    const std::string whole = read_all(input, input.size()), pieces = read_all(input, piece);
    // An error may be noticed before a reply in front of it was taken.
    const bool is_invalid = whole.ends_with("invalid") || pieces.ends_with("invalid");
    require(is_invalid || whole == pieces, "pieces of any size mean the same");
}
