// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace kombu::redis {

/// Appends a command to what is to be sent, in the format of hiredis.
void append_command(std::string& out, std::span<const std::string_view> arguments);
void append_command(std::string& out, std::span<const std::string> arguments);
inline void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
    append_command(out, std::span{arguments.begin(), arguments.size()});
}

/// The parts of a command. They are used for commands that contain messages, which hiredis would copy twice, and for
/// those that acknowledge messages (bench/RESULTS.md).
void append_command_header(std::string& out, std::size_t arguments);
void append_argument(std::string& out, std::string_view argument);
void append_argument_header(std::string& out, std::size_t size);

}  // namespace kombu::redis
