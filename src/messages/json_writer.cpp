// SPDX-License-Identifier: BSD-3-Clause
#include "messages/json_writer.hpp"

#include <kombu/error.hpp>

#include "messages/forbidden_value.hpp"
#include "messages/json_depth.hpp"
#include "support/hex.hpp"
#include "support/pieces.hpp"
#include "support/utf8.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace kombu::json_text {
namespace {

void append_unicode_escape(std::string& out, std::uint32_t unit) {
    const char text[] = {'\\',           'u', hex_digit(unit >> 12U), hex_digit(unit >> 8U), hex_digit(unit >> 4U),
                         hex_digit(unit)};
    out.append(text, sizeof text);
}

void append_escaped(std::string& out, unsigned char c) {
    switch (c) {
        case '"': out += "\\\""; return;
        case '\\': out += "\\\\"; return;
        case '\n': out += "\\n"; return;
        case '\r': out += "\\r"; return;
        case '\t': out += "\\t"; return;
        case '\b': out += "\\b"; return;
        case '\f': out += "\\f"; return;
        default: append_unicode_escape(out, c); return;
    }
}

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

template <class Number>
void append_number(std::string& out, Number number) {
    std::array<char, 32> text;
    const char* const end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
    out.append(text.data(), static_cast<std::size_t>(end - text.data()));
}

/// Fast path for numbers of at most two decimals, without the search for the shortest form. It is exact: n / 100 and
/// the parsed decimal notation are rounded once each, to the same double. Returns false for other numbers.
bool append_short_decimal(std::string& out, double number) {
    const double hundredfold = number * 100;
    if (!(std::abs(hundredfold) < 1e15)) return false;
    const auto n = static_cast<std::int64_t>(hundredfold);
    if (static_cast<double>(n) / 100 != number || n == 0) return false;
    std::array<char, 24> text;
    char* end = std::to_chars(text.data(), text.data() + text.size(), std::abs(n) / 100).ptr;
    const auto rest = static_cast<int>(std::abs(n) % 100);
    *end++ = '.';
    *end++ = static_cast<char>('0' + rest / 10);
    if (rest % 10 != 0) *end++ = static_cast<char>('0' + rest % 10);
    if (n < 0) out += '-';
    out.append(text.data(), static_cast<std::size_t>(end - text.data()));
    return true;
}

void append_real(std::string& out, double number) {
    if (!std::isfinite(number)) throw EncodeError("JSON cannot represent a number that is not finite");
    if (append_short_decimal(out, number)) return;
    // The fewest digits that tell the number apart, written as Python writes them: positional from 1e-4 to 1e16.
    std::array<char, 32> buffer;
    const char* const end =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific).ptr;
    const std::string_view text{buffer.data(), end};
    const std::size_t mark = text.find('e');
    int exponent = 0;
    std::from_chars(text.data() + mark + (text[mark + 1] == '+' ? 2 : 1), end, exponent);
    if (exponent < -4 || exponent >= 16) {
        out += text;
        return;
    }
    std::string digits;
    for (const char c : text.substr(0, mark)) {
        if (c == '-')
            out += c;
        else if (c != '.')
            digits += c;
    }
    if (exponent < 0) {
        out.append("0.").append(static_cast<std::size_t>(-exponent - 1), '0').append(digits);
        return;
    }
    const auto before_point = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() <= before_point) digits.resize(before_point + 1, '0');
    out.append(digits, 0, before_point).append(1, '.').append(digits, before_point);
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
        if (c == 0x7f) {
            out += '\x7f';
            ++at;
        } else if (c < 0x80) {
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

}  // namespace

void append_python_string(std::string& out, std::string_view text, Deadline deadline) {
    out += '"';
    for_each_piece(text, deadline, [&](std::string_view piece) { append_python_text(out, piece); });
    out += '"';
}

namespace {

/// The length of the prefix of ASCII characters that need no escape, tested eight characters at a time.
std::size_t unescaped_prefix(std::string_view text) {
    constexpr std::uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    std::size_t at = 0;
    for (; text.size() - at >= 8; at += 8) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, text.data() + at, 8);
        const auto has_zero = [](std::uint64_t x) { return (x - ones) & ~x & highs; };
        const std::uint64_t special = has_zero(eight ^ ones * '"') | has_zero(eight ^ ones * '\\') |
                                      ((eight - ones * 0x20) & ~eight & highs) | (eight & highs);
        if (special != 0) break;
    }
    for (; at < text.size(); ++at) {
        const auto c = static_cast<unsigned char>(text[at]);
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') break;
    }
    return at;
}

/// What follows the prefix that needs no escape.
void append_escaping(std::string& out, std::string_view text) {
    if (text.empty()) return;
    if (!is_utf8(text)) throw EncodeError("a text in the JSON value is not valid UTF-8");
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || c == '"' || c == '\\')
            append_escaped(out, byte);
        else
            out += c;
    }
}

void append_raw_string(std::string& out, std::string_view text, Deadline deadline) {
    if (text.size() > piece_size) {
        out += '"';
        for_each_piece(text, deadline, [&](std::string_view piece) {
            const std::size_t prefix_size = unescaped_prefix(piece);
            out += piece.substr(0, prefix_size);
            append_escaping(out, piece.substr(prefix_size));
        });
        out += '"';
        return;
    }
    const std::size_t prefix_size = unescaped_prefix(text), before = out.size();
    out.resize(before + prefix_size + 2);
    char* const to = out.data() + before;
    to[0] = '"';
    std::memcpy(to + 1, text.data(), prefix_size);
    to[prefix_size + 1] = '"';
    if (prefix_size == text.size()) return;
    out.pop_back();
    append_escaping(out, text.substr(prefix_size));
    out += '"';
}

void append_scalar(std::string& out, const Json& value) {
    switch (value.type()) {
        case Json::value_t::boolean: out += value.get<bool>() ? "true" : "false"; return;
        case Json::value_t::number_integer: return append_number(out, value.get<std::int64_t>());
        case Json::value_t::number_unsigned: return append_number(out, value.get<std::uint64_t>());
        case Json::value_t::number_float: return append_real(out, value.get<double>());
        case Json::value_t::binary: throw EncodeError("JSON cannot represent bytes");
        default: out += "null"; return;
    }
}

std::size_t descend(std::size_t depth_left) {
    if (depth_left == 0) throw EncodeError("the JSON value nests more than 256 levels deep");
    return depth_left - 1;
}

void append_spaced_value(std::string& out, const Json& value, std::size_t depth_left) {
    const char* separator = "";
    if (value.is_object()) {
        const std::size_t left = descend(depth_left);
        out += '{';
        for (const auto& [name, inner] : value.get_ref<const Json::object_t&>()) {
            out += separator;
            append_python_string(out, name);
            out += ": ";
            append_spaced_value(out, inner, left);
            separator = ", ";
        }
        out += '}';
    } else if (value.is_array()) {
        const std::size_t left = descend(depth_left);
        out += '[';
        for (const Json& inner : value) {
            out += separator;
            append_spaced_value(out, inner, left);
            separator = ", ";
        }
        out += ']';
    } else if (value.is_string()) {
        append_python_string(out, value.get_ref<const std::string&>());
    } else {
        append_scalar(out, value);
    }
}

/// Looks at the deadline whenever the text has grown by a piece.
struct Progress {
    const Deadline deadline;
    std::size_t next_check;
    void check(const std::string& out) {
        if (out.size() < next_check) return;
        check_in_time(deadline);
        next_check = out.size() + piece_size;
    }
};

void append_compact_value(std::string& out, const Json& value, std::size_t depth_left, Progress& progress) {
    switch (value.type()) {
        case Json::value_t::object: {
            const std::size_t left = descend(depth_left);
            char separator = '{';
            for (const auto& [name, inner] : value.get_ref<const Json::object_t&>()) {
                out += separator;
                append_raw_string(out, name, progress.deadline);
                out += ':';
                append_compact_value(out, inner, left, progress);
                progress.check(out);
                separator = ',';
            }
            if (value.empty()) out += '{';
            out += '}';
            return;
        }
        case Json::value_t::array: {
            const std::size_t left = descend(depth_left);
            char separator = '[';
            for (const Json& inner : value.get_ref<const Json::array_t&>()) {
                out += separator;
                append_compact_value(out, inner, left, progress);
                progress.check(out);
                separator = ',';
            }
            if (value.empty()) out += '[';
            out += ']';
            return;
        }
        case Json::value_t::string:
            return append_raw_string(out, value.get_ref<const std::string&>(), progress.deadline);
        default: return append_scalar(out, value);
    }
}

}  // namespace

namespace {

[[noreturn]] void throw_with_path(const Json& value, const EncodeError& error) {
    throw EncodeError(find_forbidden_value(value, "body", json_rules).value_or(error.what()));
}

}  // namespace

void append_compact(std::string& out, const Json& value, Deadline deadline) {
    out.reserve(out.size() + 128);
    Progress progress{deadline, out.size() + piece_size};
    try {
        append_compact_value(out, value, max_depth, progress);
    } catch (const EncodeError& error) {
        throw_with_path(value, error);
    }
}

void append_python_json(std::string& out, const Json& value) {
    try {
        append_spaced_value(out, value, max_depth);
    } catch (const EncodeError& error) {
        throw_with_path(value, error);
    }
}

}  // namespace kombu::json_text
