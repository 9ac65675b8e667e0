// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace kombu {

/// What a compressed body may grow to. A few hundred bytes can claim to be gigabytes.
inline constexpr std::size_t max_decompressed_size = std::size_t{64} << 20;

/// The content type that stands in the `compression` header for a name or alias: `zlib` and `gzip` are
/// `application/x-gzip` (and, as in Kombu, both are a zlib stream). Throws SerializerNotInstalled when unknown.
KOMBU_EXPORT std::string_view compression_type(std::string_view name);

/// Compresses with the given method, by name, alias or content type.
KOMBU_EXPORT std::string compress(std::string_view data, std::string_view name);

/// Throws SerializerNotInstalled when the method is unknown, DecodeError when the data is broken, cut short or would
/// grow beyond `limit` bytes.
KOMBU_EXPORT std::string decompress(std::string_view data, std::string_view name,
                                    std::size_t limit = max_decompressed_size);

}  // namespace kombu
