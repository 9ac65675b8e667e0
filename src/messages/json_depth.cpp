// SPDX-License-Identifier: BSD-3-Clause
#include "messages/json_depth.hpp"

namespace kombu::json_text {
namespace {

/// Returns the index after the string whose contents begin at `begin`.
std::size_t end_of_string(std::string_view json, std::size_t begin) noexcept {
    for (std::size_t from = begin;;) {
        const std::size_t quote = json.find('"', from);
        if (quote == std::string_view::npos) return json.size();
        std::size_t backslashes = 0;
        while (quote - backslashes > begin && json[quote - backslashes - 1] == '\\') ++backslashes;
        if (backslashes % 2 == 0) return quote + 1;
        from = quote + 1;
    }
}

}  // namespace

bool nests_too_deep(std::string_view json) noexcept {
    std::size_t depth = 0;
    for (std::size_t i = 0; i < json.size();) {
        const char c = json[i++];
        if (c == '"')
            i = end_of_string(json, i);
        else if ((c == '[' || c == '{') && ++depth > max_depth)
            return true;
        else if ((c == ']' || c == '}') && depth > 0)
            --depth;
    }
    return false;
}

}  // namespace kombu::json_text
