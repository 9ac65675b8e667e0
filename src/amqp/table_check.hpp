// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>

namespace kombu::amqp {

/// Whether the tables and arrays within an encoded table (with its length prefix) nest more than 64 levels deep, or
/// extend beyond their container. librabbitmq decodes them recursively and without a limit: the depth that a frame of
/// 128 KiB can hold overflows a thread's stack.
bool is_malformed_or_too_deep(std::string_view encoded_table);

/// The encoded headers table within encoded basic properties; empty when there is none.
std::string_view find_headers(std::string_view encoded_properties);

/// The same properties without their headers.
std::string without_headers(std::string_view encoded_properties, std::string_view headers);

}  // namespace kombu::amqp
