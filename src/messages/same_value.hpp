// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

namespace kombu {

/// Whether the values are the same for a receiver. nlohmann's == compares numbers after a conversion: to it 1 equals
/// 1.0, -1 equals 2^64-1, and 2^53+1 equals 2^53 as a double.
bool same_value(const Json& a, const Json& b);

}  // namespace kombu
