// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/json.hpp>

#include <functional>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace kombu {

/// A list of content types that may be decoded, given as names of serializers or as content types: `.accept =
/// {"json", "application/x-custom"}`. The default accepts what is enabled: JSON, text and bytes, unless
/// enable_serializer() or disable_serializer() say otherwise.
class KOMBU_EXPORT ContentTypes {
public:
    /// The types that are enabled when a body is decoded.
    ContentTypes() = default;
    /// Also instead of moves: what was moved from would accept all that is enabled.
    ContentTypes(const ContentTypes&) = default;
    ContentTypes& operator=(const ContentTypes&) = default;
    ~ContentTypes() = default;
    /// The list of these names.
    /// \throws SerializerNotInstalled  for a name that is neither a serializer nor a content type
    /// \throws ContentDisallowed  for pickle
    ContentTypes(std::initializer_list<std::string_view> names);

    /// Whether the content type is on the list. `application/data` (raw bytes) and `application/text` are always
    /// accepted, as in Kombu.
    bool accepts(std::string_view content_type) const;

private:
    std::shared_ptr<const std::set<std::string, std::less<>>> types_{};  // null: the enabled ones
};

/// Converts bodies of one content type to bytes and back. An exception of either function becomes EncodeError or
/// DecodeError.
struct Serializer {
    /// What PublishOptions::serializer names.
    std::string name{};
    /// Written into messages, and looked up when they come.
    std::string content_type{};
    /// Written into messages: a character set, or `binary`.
    std::string content_encoding = "utf-8";
    /// Makes bytes of a value. Throws what it likes; the publish then throws EncodeError.
    std::function<std::string(const Json&)> encode{};
    /// Makes a value of bytes. Throws what it likes; the reader then gets DecodeError.
    std::function<Json(std::string_view)> decode{};
};

/// Adds a serializer, or replaces the one of that name. It is not enabled: receivers list it in their `accept`. Built
/// in are `json` (application/json), `text` (text/plain) and `bytes`, also called `raw` (application/data), which are
/// enabled, and `msgpack` (application/x-msgpack) and, if yaml-cpp was found when this library was built, `yaml`
/// (application/x-yaml), which are not. There is no pickle: to decode it means to execute what the sender wrote.
/// \throws ConfigurationError  when a name, content type or function is missing
/// \throws ContentDisallowed  for the name or the content type of pickle
/// \par Thread safety
/// May be called from any thread, as the next three.
/// \par Kombu
/// `kombu.serialization.register`
KOMBU_EXPORT void register_serializer(Serializer serializer);

/// Removes a serializer. Its content type is then decoded as text or bytes, where it is accepted.
/// \throws SerializerNotInstalled  when there is none of that name
KOMBU_EXPORT void unregister_serializer(std::string_view name);

/// Makes a default ContentTypes accept a serializer.
/// \param name  of the serializer, or its content type
/// \throws SerializerNotInstalled  when there is none of that name or type
KOMBU_EXPORT void enable_serializer(std::string_view name);

/// Makes a default ContentTypes refuse a serializer. Encoding with it is still possible. Throws as
/// enable_serializer().
KOMBU_EXPORT void disable_serializer(std::string_view name);

/// A serialised body with its content type.
struct EncodedBody {
    /// The content type of the serializer.
    std::string content_type{};
    /// The content encoding of the serializer.
    std::string content_encoding{};
    /// The bytes.
    std::string data{};
};

/// Encodes a body.
/// \param body  the value
/// \param serializer  the name of a serializer
/// \throws SerializerNotInstalled  when there is none of that name
/// \throws EncodeError  when the value cannot be encoded, such as text that is not UTF-8
KOMBU_EXPORT EncodedBody encode_body(const Json& body, std::string_view serializer = "json");

/// Decodes a body by its content type. A type without a serializer is decoded as text, or as bytes when the encoding
/// is `binary` or the data is not UTF-8. An empty body is empty text, or empty bytes.
/// \param data  the bytes
/// \param content_type  in any case, with or without parameters; empty counts as application/data
/// \param content_encoding  the character set of text: UTF-8, 16, 32, ASCII, the common ISO-8859, Windows and KOI8
///   sets, Shift JIS, EUC-JP, GB18030, GBK, Big5, by Python's names too; `binary` for bytes; empty stands for the
///   charset of the content type, or for UTF-8
/// \param accept  the allowed content types
/// \throws ContentDisallowed  when `accept` does not have the type
/// \throws DecodeError  when the data is invalid for its type, or JSON is nested more than 256 levels deep
KOMBU_EXPORT Json decode_body(std::string_view data, std::string_view content_type, std::string_view content_encoding,
                              const ContentTypes& accept);

}  // namespace kombu
