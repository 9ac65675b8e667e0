// SPDX-License-Identifier: BSD-3-Clause
#include "messages/python_json.hpp"

#include <kombu/error.hpp>

#include "messages/json_depth.hpp"
#include "messages/json_tokens.hpp"
#include "support/pieces.hpp"
#include "support/utf8.hpp"

#include <cstdint>

namespace kombu::json_text {
namespace {

/// Decodes the multi-byte code point at `at` of valid UTF-8, and advances `at` past it.
std::uint32_t read_code_point(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(at++);
    const std::size_t continuation_bytes = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    std::uint32_t code = first & (0x3fu >> continuation_bytes);
    for (std::size_t i = 0; i < continuation_bytes; ++i) code = code << 6 | (byte(at + i) & 0x3fu);
    at += continuation_bytes;
    return code;
}

/// Of text without its quotes.
void append_python_text(std::string& out, std::string_view text) {
    if (!is_utf8(text)) throw EncodeError("a text in the JSON value is not valid UTF-8");
    std::size_t unescaped_begin = 0;  // start of the text that is not yet appended
    for (std::size_t at = 0; at < text.size();) {
        const auto c = static_cast<unsigned char>(text[at]);
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            ++at;
            continue;
        }
        out.append(text, unescaped_begin, at - unescaped_begin);
        if (c < 0x80) {
            ++at;
            append_escaped(out, c);
        } else {
            const std::uint32_t code = read_code_point(text, at);
            if (code >= 0x10000) {
                append_unicode_escape(out, 0xd800 + ((code - 0x10000) >> 10));
                append_unicode_escape(out, 0xdc00 + ((code - 0x10000) & 0x3ff));
            } else {
                append_unicode_escape(out, code);
            }
        }
        unescaped_begin = at;
    }
    out.append(text, unescaped_begin);
}

void append_python_value(std::string& out, const Json& value, std::size_t depth_left) {
    const char* separator = "";
    if (value.is_object()) {
        const std::size_t left = descend(depth_left);
        out += '{';
        for (const auto& [name, inner] : value.get_ref<const Json::object_t&>()) {
            out += separator;
            append_python_string(out, name);
            out += ": ";
            append_python_value(out, inner, left);
            separator = ", ";
        }
        out += '}';
    } else if (value.is_array()) {
        const std::size_t left = descend(depth_left);
        out += '[';
        for (const Json& inner : value) {
            out += separator;
            append_python_value(out, inner, left);
            separator = ", ";
        }
        out += ']';
    } else if (value.is_string()) {
        append_python_string(out, value.get_ref<const std::string&>());
    } else {
        char text[max_scalar_size];
        out.append(text, write_scalar(text, value));
    }
}

}  // namespace

void append_python_json(std::string& out, const Json& value) {
    try {
        append_python_value(out, value, max_depth);
    } catch (const EncodeError& error) {
        throw_with_path(value, error);
    }
}

void append_python_string(std::string& out, std::string_view text, Deadline deadline) {
    out += '"';
    for_each_piece(text, deadline, [&](std::string_view piece) { append_python_text(out, piece); });
    out += '"';
}

}  // namespace kombu::json_text
