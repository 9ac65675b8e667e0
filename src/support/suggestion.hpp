// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kombu {

/// "known: a, b, c" and, when one of them is close to `word`, "; did you mean a?"
std::string suggest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace kombu
