// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string_view>

namespace kombu {

/// Whether a text is UTF-8 as Unicode defines it: no overlong forms, no surrogates.
bool is_utf8(std::string_view text);

}  // namespace kombu
