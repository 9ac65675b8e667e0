// SPDX-License-Identifier: BSD-3-Clause
#include "messages/json_tokens.hpp"

#include "messages/forbidden_value.hpp"
#include "support/hex.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>

namespace kombu::json_text {
namespace {

char* write_text(char* to, std::string_view text) {
    std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

/// Fast path for numbers below 1e13 of at most two decimals, without the search for the shortest form. It is exact: n /
/// 100 and the parsed decimal notation are rounded once each, to the same double. Returns null for other numbers.
char* write_short_decimal(char* to, double number) {
    const double hundredfold = number * 100;
    if (!(std::abs(hundredfold) < 1e15)) return nullptr;
    const auto n = static_cast<std::int64_t>(hundredfold);
    if (static_cast<double>(n) / 100 != number || n == 0) return nullptr;
    if (n < 0) *to++ = '-';
    to = std::to_chars(to, to + 20, std::abs(n) / 100).ptr;
    const auto rest = static_cast<int>(std::abs(n) % 100);
    *to++ = '.';
    *to++ = static_cast<char>('0' + rest / 10);
    if (rest % 10 != 0) *to++ = static_cast<char>('0' + rest % 10);
    return to;
}

char* write_real(char* to, double number) {
    if (!std::isfinite(number)) throw EncodeError("JSON cannot represent a number that is not finite");
    if (char* const end = write_short_decimal(to, number)) return end;
    // The fewest digits that tell the number apart, written as Python writes them: positional from 1e-4 to 1e16.
    char* const end = std::to_chars(to, to + max_scalar_size, number, std::chars_format::scientific).ptr;
    char* const mark = std::find(to, end, 'e');
    int exponent = 0;
    std::from_chars(mark + (mark[1] == '+' ? 2 : 1), end, exponent);
    if (exponent < -4 || exponent >= 16) return end;
    char digits[max_scalar_size];
    if (*to == '-') ++to;
    char* const digits_end = std::remove_copy(to, mark, digits, '.');
    const auto count = static_cast<int>(digits_end - digits);
    if (exponent < 0) {
        to = write_text(to, "0.");
        to = std::fill_n(to, -exponent - 1, '0');
        return std::copy(digits, digits_end, to);
    }
    const int before_point = exponent + 1;
    to = std::copy_n(digits, std::min(count, before_point), to);
    if (count < before_point) to = std::fill_n(to, before_point - count, '0');
    *to++ = '.';
    if (count <= before_point) {
        *to++ = '0';
        return to;
    }
    return std::copy(digits + before_point, digits_end, to);
}

}  // namespace

std::size_t plain_prefix(std::string_view text) noexcept {
    std::size_t at = 0;
    for (; text.size() - at >= 8; at += 8) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, text.data() + at, 8);
        const std::uint64_t special = special_bits(eight);
        if (special == 0) continue;
        if constexpr (std::endian::native == std::endian::little)
            return at + static_cast<std::size_t>(std::countr_zero(special)) / 8;
        break;  // the next loop finds it
    }
    for (; at < text.size(); ++at) {
        const auto c = static_cast<unsigned char>(text[at]);
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') break;
    }
    return at;
}

char* write_scalar(char* to, const Json& value) {
    switch (value.type()) {
        case Json::value_t::boolean: return write_text(to, *value.get_ptr<const bool*>() ? "true" : "false");
        case Json::value_t::number_integer:
            return std::to_chars(to, to + max_scalar_size, *value.get_ptr<const std::int64_t*>()).ptr;
        case Json::value_t::number_unsigned:
            return std::to_chars(to, to + max_scalar_size, *value.get_ptr<const std::uint64_t*>()).ptr;
        case Json::value_t::number_float: return write_real(to, *value.get_ptr<const double*>());
        case Json::value_t::binary: throw EncodeError("JSON cannot represent bytes");
        default: return write_text(to, "null");
    }
}

void append_escaped(std::string& out, unsigned char character) {
    switch (character) {
        case '"': out += "\\\""; return;
        case '\\': out += "\\\\"; return;
        case '\n': out += "\\n"; return;
        case '\r': out += "\\r"; return;
        case '\t': out += "\\t"; return;
        case '\b': out += "\\b"; return;
        case '\f': out += "\\f"; return;
        default: append_unicode_escape(out, character); return;
    }
}

void append_unicode_escape(std::string& out, std::uint32_t unit) {
    const char text[] = {'\\',           'u', hex_digit(unit >> 12U), hex_digit(unit >> 8U), hex_digit(unit >> 4U),
                         hex_digit(unit)};
    out.append(text, sizeof text);
}

void throw_with_path(const Json& value, const EncodeError& error) {
    throw EncodeError(find_forbidden_value(value, "body", json_rules).value_or(error.what()));
}

std::size_t descend(std::size_t depth_left) {
    if (depth_left == 0) throw EncodeError("the JSON value nests more than 256 levels deep");
    return depth_left - 1;
}

}  // namespace kombu::json_text
