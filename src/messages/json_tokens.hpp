// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

/// What both writers of JSON text write alike: numbers, escapes, and errors.
namespace kombu::json_text {

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
