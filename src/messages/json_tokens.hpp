// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// What the readers and writers of JSON text have in common: plain characters, numbers, escapes, and errors.
namespace kombu::json_text {

/// Special characters are quotes, backslashes, those below 0x20, and those from 0x80. Returns zero if none of the eight
/// bytes is special. Otherwise the lowest bit that is set is the highest bit of the lowest special byte. Bits above it
/// mean nothing.
inline std::uint64_t special_bits(std::uint64_t eight) {
    constexpr std::uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    const auto zeros = [](std::uint64_t x) { return (x - ones) & ~x & highs; };
    return zeros(eight ^ ones * '"') | zeros(eight ^ ones * '\\') | ((eight - ones * 0x20) & ~eight & highs) |
           (eight & highs);
}
/// Whether one of the eight is special.
inline bool has_special(std::uint64_t eight) { return special_bits(eight) != 0; }

/// The number of characters before the first special one.
std::size_t plain_prefix(std::string_view text) noexcept;

/// No scalar takes more characters.
inline constexpr std::size_t max_scalar_size = 32;

/// Writes a number, true, false or null to memory of at least `max_scalar_size`, and returns the end of the text.
/// Doubles are written as Python writes them. Throws EncodeError for bytes and numbers that are not finite.
char* write_scalar(char* to, const Json& value);

/// Appends the escape of a quote, a backslash or a control character.
void append_escaped(std::string& out, unsigned char character);
/// Appends \uXXXX.
void append_unicode_escape(std::string& out, std::uint32_t unit);

/// Throws the error of a value that cannot be written, with the path of what is wrong in it.
[[noreturn]] void throw_with_path(const Json& value, const EncodeError& error);

/// The levels left inside of a value. Throws EncodeError when there is none.
std::size_t descend(std::size_t depth_left);

}  // namespace kombu::json_text
