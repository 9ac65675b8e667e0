// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

/// What the program says to a person, on standard error.
namespace kombu::command {

bool has_terminal();
/// Replaces the last line of the terminal on standard error; an empty text removes it.
void show_status_line(const std::string& text);

/// The text without passwords of URLs and without control characters, for a terminal.
std::string presentable(const std::string& text);
/// Prints a sentence on standard error, in place of a status line.
void say(const std::string& sentence);

}  // namespace kombu::command
