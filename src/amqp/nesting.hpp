#pragma once

#include <string>
#include <string_view>

namespace kombu::amqp {

/// Whether tables and arrays within an encoded table, its length included, nest more than 64 levels deep. librabbitmq
/// follows them recursively, as deep as they go, which in a frame of 128 KiB is more than a thread's stack holds. What
/// is broken in another way is left to it to refuse.
bool nests_too_deep(std::string_view encoded_table);

/// The encoded headers table within encoded basic properties; empty when there is none.
std::string_view find_headers(std::string_view encoded_properties);

/// The same properties without their headers.
std::string without_headers(std::string_view encoded_properties, std::string_view headers);

}  // namespace kombu::amqp
