// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <string_view>

namespace kombu::json_text {

/// Bounds the recursion that deeper values would cause: many operations on Json values recurse.
inline constexpr std::size_t max_depth = 256;

/// Whether JSON text nests deeper than `max_depth`. Cheaper than parsing, and does not recurse.
bool nests_too_deep(std::string_view json) noexcept;

}  // namespace kombu::json_text
