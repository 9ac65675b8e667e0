#pragma once

#include <kombu/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// JSON as text: written in less time than a general library takes, and found one's way around in without being taken
/// apart, so that what others wrote can be passed on to the letter.
namespace kombu::json_text {

// Both throw EncodeError for what JSON cannot write (bytes, numbers that are not finite, text that is not UTF-8), and
// for what nests more than 256 levels deep.

/// Without spaces, and with escapes only where there must be some.
void append_compact(std::string& out, const Json& value);
/// To the letter as Python's json.dumps writes it, in ASCII.
void append(std::string& out, const Json& value);
void append_string(std::string& out, std::string_view text);

/// Part of a text, from `begin` up to `end`.
struct Span {
    std::size_t begin = 0, end = 0;
    std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
};

/// The value of a member of the object that begins at `object`. The text must be well-formed; the last of several
/// members of one name counts, as everywhere.
std::optional<Span> member(std::string_view text, std::size_t object, std::string_view name);
/// The n-th element of the array that begins at `array`.
std::optional<Span> element(std::string_view text, std::size_t array, std::size_t n);

}  // namespace kombu::json_text
