// SPDX-License-Identifier: BSD-3-Clause
#include "virtual/topic_pattern.hpp"

#include <cstddef>

namespace kombu::routing {
namespace {

bool needs_no_escape(unsigned char c) {
    // Kombu escapes every character that is neither letter nor digit, except the wildcards, also within a word. Beyond
    // ASCII it escapes those that are not letters; they match the same with and without a backslash.
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '*' || c == '#' ||
           c >= 0x80;
}

void append_word(std::string& out, std::string_view word) {
    if (word == "*") {
        out += R"(.*?[^\.])";
    } else if (word == "#") {
        out += ".*?";
    } else {
        for (const char c : word) {
            if (!needs_no_escape(static_cast<unsigned char>(c))) out += '\\';
            if (c == '\0')
                out += "000";
            else
                out += c;
        }
    }
}

}  // namespace

std::string kombu_topic_regex(std::string_view key) {
    std::string out = "^";
    for (std::size_t begin = 0;;) {
        const std::size_t end = key.find('.', begin);
        append_word(out, key.substr(begin, end - begin));
        if (end == std::string_view::npos) return out + '$';
        out += R"(\.)";
        begin = end + 1;
    }
}

}  // namespace kombu::routing
