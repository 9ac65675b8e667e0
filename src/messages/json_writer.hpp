// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>

#include <string>

namespace kombu::json_text {

/// Writes JSON text without spaces, and escapes only what JSON requires. bench/json compares it with nlohmann_json.
/// Throws EncodeError for bytes, numbers that are not finite, text that is not UTF-8, and values nested more than 256
/// levels deep; Timeout when the deadline passes meanwhile.
void append_compact(std::string& out, const Json& value, Deadline deadline = Deadline::never());

}  // namespace kombu::json_text
