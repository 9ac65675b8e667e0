// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu {

/// The largest size of a decompressed body, in bytes. A few hundred bytes can expand to gigabytes.
inline constexpr std::size_t max_decompressed_size = std::size_t{64} << 20;

/// A compression method. Any exception of its functions becomes EncodeError or DecodeError.
struct Compression {
    /// The value of the `compression` header.
    std::string content_type{};
    /// The names under which PublishOptions::compression finds it, beside the content type.
    std::vector<std::string> names{};
    /// Compresses.
    std::function<std::string(std::string_view data)> compress{};
    /// Should throw instead of returning more than `limit` bytes.
    std::function<std::string(std::string_view data, std::size_t limit)> decompress{};
};

/// Adds a compression method, or replaces those of these names. Built in are, by Kombu's names:
/// * `zlib`, also called `gzip` (application/x-gzip): a zlib stream, as in Kombu
/// * `bzip2`, `bzip`, `bz2` (application/x-bz2), `lzma`, `xz` (application/x-lzma), `zstd`, `zstandard`
///   (application/zstd) and `brotli` (application/x-brotli), each if its library was found when this one was built
///
/// \throws ConfigurationError  when the content type or a function is missing
/// \par Thread safety
/// May be called from any thread.
/// \par Kombu
/// `kombu.compression.register`
KOMBU_EXPORT void register_compression(Compression compression);

/// The content type that the `compression` header has for a method.
/// \param name  a name or content type
/// \throws SerializerNotInstalled  when the method is unknown, or not in this build
KOMBU_EXPORT std::string compression_type(std::string_view name);

/// Compresses a body.
/// \param data  the body
/// \param name  the name or content type of the method
/// \throws SerializerNotInstalled  as compression_type() does
/// \throws EncodeError  when the method fails
KOMBU_EXPORT std::string compress(std::string_view data, std::string_view name);

/// Decompresses a body.
/// \param data  the compressed body
/// \param name  the name or content type of the method
/// \param limit  of the decompressed size, in bytes
/// \throws SerializerNotInstalled  as compression_type() does
/// \throws DecodeError  when the data is invalid, truncated, or would expand beyond `limit`
KOMBU_EXPORT std::string decompress(std::string_view data, std::string_view name,
                                    std::size_t limit = max_decompressed_size);

}  // namespace kombu
