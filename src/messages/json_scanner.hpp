// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// Looks into JSON text without building values. What is not needed is skipped, and can be passed on byte for byte.
namespace kombu::json_text {

/// The range [begin, end) of a text.
struct Span {
    std::size_t begin = 0, end = 0;
    std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
};

/// Whether the text is one JSON value in UTF-8, nested at most `max_depth` (json_depth.hpp) levels deep. Unlike
/// nlohmann_json it takes numbers of any size, and escapes of half a surrogate pair.
bool is_well_formed(std::string_view text) noexcept;

// The text of all that follows must be well-formed.

/// The members of an object, one after the other.
class MemberReader {
public:
    /// `object`: the offset of the value. What is not an object has no members.
    MemberReader(std::string_view text, std::size_t object);
    /// Goes to the next member. Returns false behind the last one.
    bool next();
    /// The name, without escapes.
    std::string_view name() const noexcept { return name_; }
    Span value() const noexcept { return value_; }

private:
    std::string_view text_;
    std::size_t at_;
    std::string_view name_{};
    std::string unescaped_{};
    Span value_{};
};

/// The value of a member of the object that begins at offset `object`. Of several members with one name the last
/// counts, as in other parsers.
std::optional<Span> member(std::string_view text, std::size_t object, std::string_view name);
/// The n-th element, counted from 0, of the array that begins at offset `array`.
std::optional<Span> element(std::string_view text, std::size_t array, std::size_t n);

/// The text that a value is, without escapes; nothing for other values, and for half a surrogate pair.
std::optional<std::string> to_text(std::string_view value);

}  // namespace kombu::json_text
