// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>

#include <string>
#include <string_view>

/// JSON text to the letter as Python's json.dumps writes it, in ASCII: the envelopes of Redis are such text.
namespace kombu::json_text {

/// Throws EncodeError for bytes, numbers that are not finite, text that is not UTF-8, and values nested more than 256
/// levels deep.
void append_python_json(std::string& out, const Json& value);
/// Throws EncodeError for text that is not UTF-8, and Timeout when the deadline passes meanwhile.
void append_python_string(std::string& out, std::string_view text, Deadline deadline = Deadline::never());

}  // namespace kombu::json_text
