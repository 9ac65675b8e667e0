// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace kombu {

/// The largest size of a decompressed body, in bytes. A few hundred bytes can expand to gigabytes.
inline constexpr std::size_t max_decompressed_size = std::size_t{64} << 20;

/// The content type that the `compression` header has for a method. `zlib` and `gzip` are `application/x-gzip`; as in
/// Kombu, both mean a zlib stream.
/// \param name  a name or content type
/// \throws SerializerNotInstalled  when the method is unknown
KOMBU_EXPORT std::string_view compression_type(std::string_view name);

/// Compresses a body.
/// \param data  the body
/// \param name  the name or content type of the method
/// \throws SerializerNotInstalled  when the method is unknown
KOMBU_EXPORT std::string compress(std::string_view data, std::string_view name);

/// Decompresses a body.
/// \param data  the compressed body
/// \param name  the name or content type of the method
/// \param limit  of the decompressed size, in bytes
/// \throws SerializerNotInstalled  when the method is unknown
/// \throws DecodeError  when the data is invalid, truncated, or would expand beyond `limit`
KOMBU_EXPORT std::string decompress(std::string_view data, std::string_view name,
                                    std::size_t limit = max_decompressed_size);

}  // namespace kombu
