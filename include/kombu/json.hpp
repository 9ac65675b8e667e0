// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>

namespace kombu {

/// The type of message bodies, headers and free-form options.
using Json = nlohmann::json;

}  // namespace kombu
