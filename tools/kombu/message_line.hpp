// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/message.hpp>

#include <stdexcept>
#include <string>

namespace kombu::command {

/// The message as a line of JSON, without the line feed. A body that is bytes, or cannot be decoded, is in
/// `body_base64`; why is in `error`.
std::string message_line(const Message& message);

/// Standard output has been closed, as by `head`.
class OutputClosed : public std::runtime_error {
public:
    OutputClosed() : std::runtime_error("standard output cannot be written") {}
};

/// Prints the message. Returns when the kernel has it; throws OutputClosed.
void print_message(const Message& message);

}  // namespace kombu::command
