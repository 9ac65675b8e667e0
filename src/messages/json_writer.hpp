// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>

#include <string>
#include <string_view>

/// Writes JSON text, faster than a general library.
namespace kombu::json_text {

// All throw EncodeError for bytes, numbers that are not finite, text that is not UTF-8, and values nested more than 256
// levels deep.

/// Writes without spaces, and escapes only what JSON requires. Throws Timeout when the deadline passes meanwhile.
void append_compact(std::string& out, const Json& value, Deadline deadline = Deadline::never());
/// Writes to the letter as Python's json.dumps does, in ASCII.
void append_python_json(std::string& out, const Json& value);
void append_python_string(std::string& out, std::string_view text, Deadline deadline = Deadline::never());

}  // namespace kombu::json_text
