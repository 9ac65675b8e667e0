// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace kombu {

/// An encoded body. Its type names are views of constants, of the serializer's strings or of those in PublishOptions.
struct SerializedBody {
    std::string_view content_type{};
    std::string_view content_encoding{};
    std::string data{};
    /// Owns the strings behind the type names when they are the serializer's.
    std::shared_ptr<const Serializer> serializer{};
};

/// Encodes as encode_body does, without copying the type names of the serializer. Throw Timeout when the deadline
/// passes meanwhile.
SerializedBody encode_with(const Json& body, std::string_view serializer, Deadline deadline = Deadline::never());
SerializedBody encode_with(std::string_view text, std::string_view serializer, Deadline deadline);

/// As kombu::compress. Throws Timeout when the deadline passes meanwhile.
std::string compress(std::string_view data, std::string_view name, Deadline deadline);

}  // namespace kombu
