// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>

namespace kombu {

/// Converts text to UTF-8. `charset` is a content encoding: the name of a common character set, in any spelling.
/// Throws DecodeError when the name is unknown, or the text is not valid.
std::string to_utf8(std::string_view text, std::string_view charset);

/// Whether it is UTF-8, which is also the encoding of what has none.
bool is_utf8_name(std::string_view charset);

bool is_known_charset(std::string_view charset);

/// Whether content of this encoding is bytes, and not text: binary and ascii-8bit, as in Kombu.
bool is_binary_encoding(std::string_view content_encoding) noexcept;

}  // namespace kombu
