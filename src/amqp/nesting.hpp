#pragma once

#include <string_view>

namespace kombu::amqp {

/// Throws ConnectionError when tables and arrays in an encoded table nest more than 64 levels deep. librabbitmq follows them
/// recursively, as deep as they go, which in a frame of 128 KiB is more than a thread's stack holds. What is broken in
/// another way is left to it to refuse.
void check_nesting(std::string_view encoded_table);

/// The same for the headers within encoded basic properties.
void check_header_nesting(std::string_view encoded_properties);

}  // namespace kombu::amqp
