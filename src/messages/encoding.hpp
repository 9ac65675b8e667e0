#pragma once

#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace kombu {

/// A body as it travels, and its type as whoever encoded it knows it.
struct SerializedBody {
    std::string_view content_type{};
    std::string_view content_encoding{};
    std::string data{};
    /// Whose the types are, when they are a serializer's.
    std::shared_ptr<const Serializer> serializer{};
};

/// As encode_body, without copies of what the serializer has.
SerializedBody encode_with(const Json& body, std::string_view serializer);

}  // namespace kombu
