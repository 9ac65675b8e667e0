// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kombu {

/// An encoded body. Its type names are views of constants, of the serializer's strings or of those in PublishOptions.
struct SerializedBody {
    std::string_view content_type{};
    std::string_view content_encoding{};
    std::string data{};
    /// When set, the body is these bytes of the caller.
    std::optional<std::string_view> view{};
};

/// Whether text and bytes that are sent as they are may stay where they are.
enum class BodyStorage { copy, refer };

/// Finds serializers by name, and remembers the last one that is built in: the registry's lock, and a reference count
/// that all threads share, cost more than to encode a short body. Others may belong to code that is unloaded after it
/// has unregistered them. One thread at a time.
class SerializerCache {
public:
    /// The serializer exists until the next call, and while `holder` holds it.
    /// \throws SerializerNotInstalled  with the known names
    const Serializer& find(std::string_view name, std::shared_ptr<const Serializer>& holder);

private:
    std::uint64_t version_ = 0;  // of the registry
    std::shared_ptr<const Serializer> last_{};
};

/// Encodes as encode_body does, without copying the type names of the serializer. Throw Timeout when the deadline
/// passes meanwhile.
SerializedBody encode_with(const Json& body, const Serializer& serializer, Deadline deadline = Deadline::never());
SerializedBody encode_with(std::string_view text, const Serializer& serializer, Deadline deadline, BodyStorage storage);

/// As kombu::compress. Throws Timeout when the deadline passes meanwhile.
std::string compress(std::string_view data, std::string_view name, Deadline deadline);

}  // namespace kombu
