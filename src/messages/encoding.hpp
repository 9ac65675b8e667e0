// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace kombu {

/// An encoded body, which others own: its data is the caller's or in the caller's buffer, its type names are constants,
/// the serializer's, or in PublishOptions.
struct SerializedBody {
    std::string_view content_type{};
    std::string_view content_encoding{};
    std::string_view data{};
};

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

/// Encodes as encode_body does, into `buffer`, whose previous contents are lost. A text that needs no encoding stays
/// where it is. Throw Timeout when the deadline passes meanwhile.
SerializedBody encode_with(const Json& body, const Serializer& serializer, std::string& buffer,
                           Deadline deadline = Deadline::never());
SerializedBody encode_with(std::string_view text, const Serializer& serializer, std::string& buffer, Deadline deadline);

/// As kombu::compress. Throws Timeout when the deadline passes meanwhile.
std::string compress(std::string_view data, std::string_view name, Deadline deadline);

}  // namespace kombu
