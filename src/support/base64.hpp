// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kombu::base64 {

constexpr std::size_t encoded_size(std::size_t size) noexcept { return (size + 2) / 3 * 4; }
void append_encoded(std::string& out, std::string_view data);
/// Returns no value for text that is not base64. Characters outside the alphabet are skipped, as in Python.
std::optional<std::string> decode(std::string_view text);

}  // namespace kombu::base64
