// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// JSON as text. The writers are faster than a general library. The look-ups find members and elements without parsing,
/// so that JSON of others can be passed on byte for byte.
namespace kombu::json_text {

// The writers throw EncodeError for bytes, numbers that are not finite, text that is not UTF-8, and values nested more
// than 256 levels deep.

/// Writes without spaces, and escapes only what JSON requires. Throws Timeout when the deadline passes meanwhile.
void append_compact(std::string& out, const Json& value, Deadline deadline = Deadline::never());
/// Writes to the letter as Python's json.dumps does, in ASCII.
void append_python_json(std::string& out, const Json& value);
void append_python_string(std::string& out, std::string_view text, Deadline deadline = Deadline::never());

/// The range [begin, end) of a text.
struct Span {
    std::size_t begin = 0, end = 0;
    std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
};

/// The value of a member of the object that begins at offset `object`. The text must be well-formed JSON. Of several
/// members with one name the last counts, as in other parsers.
std::optional<Span> member(std::string_view text, std::size_t object, std::string_view name);
/// The n-th element, counted from 0, of the array that begins at offset `array`.
std::optional<Span> element(std::string_view text, std::size_t array, std::size_t n);

}  // namespace kombu::json_text
