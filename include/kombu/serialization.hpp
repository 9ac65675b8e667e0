// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/json.hpp>

#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>

namespace kombu {

/// A list of content types that may be decoded. Written as names of serializers or as content types:
/// `.accept = {"json", "application/x-custom"}`. The default accepts JSON, text and bytes.
class KOMBU_EXPORT ContentTypes {
public:
    ContentTypes() : ContentTypes{"json", "text", "bytes"} {}
    /// Throws SerializerNotInstalled for a name that is neither a serializer nor a content type.
    ContentTypes(std::initializer_list<std::string_view> names);

    /// `application/data` and `application/text`, raw bytes and text, are always accepted, as in Kombu.
    bool accepts(std::string_view content_type) const;

private:
    std::set<std::string, std::less<>> types_;
};

/// How bodies of one content type become bytes and back. Both functions may throw anything; it becomes EncodeError or
/// DecodeError.
struct Serializer {
    std::string name{};
    std::string content_type{};
    std::string content_encoding = "utf-8";
    std::function<std::string(const Json&)> encode{};
    std::function<Json(std::string_view)> decode{};
};

/// Adds a serializer, or replaces the one of that name. Known from the start: `json` (application/json), `text`
/// (text/plain) and `bytes`, also called `raw` (application/data). Thread-safe.
KOMBU_EXPORT void register_serializer(Serializer serializer);

/// A body as it travels.
struct EncodedBody {
    std::string content_type{};
    std::string content_encoding{};
    std::string data{};
};

/// Encodes with the serializer of that name. Throws SerializerNotInstalled when there is none, EncodeError when the
/// value cannot be encoded (text that is not UTF-8, for example).
KOMBU_EXPORT EncodedBody encode_body(const Json& body, std::string_view serializer = "json");

/// Decodes by content type; a missing one counts as application/data. Throws ContentDisallowed unless `accept` has the
/// type, DecodeError when the data is not what it says or is nested more than 256 levels deep. No serializer in this
/// library executes anything; there is no pickle.
KOMBU_EXPORT Json decode_body(std::string_view data, std::string_view content_type, std::string_view content_encoding,
                              const ContentTypes& accept);

}  // namespace kombu
