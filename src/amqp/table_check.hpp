#pragma once

#include <string>
#include <string_view>

namespace kombu::amqp {

/// Whether tables and arrays within an encoded table, its length included, nest more than 64 levels deep, or reach
/// beyond what they stand in. librabbitmq follows them recursively, as deep as they go and as far as the frame goes,
/// which in a frame of 128 KiB is more than a thread's stack holds.
bool is_unsafe(std::string_view encoded_table);

/// The encoded headers table within encoded basic properties; empty when there is none.
std::string_view find_headers(std::string_view encoded_properties);

/// The same properties without their headers.
std::string without_headers(std::string_view encoded_properties, std::string_view headers);

}  // namespace kombu::amqp
