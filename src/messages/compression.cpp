// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/compression.hpp>
#include <kombu/error.hpp>

#include "messages/encoding.hpp"
#include "support/pieces.hpp"
#include "support/suggestion.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>

namespace kombu {
namespace {

/// A chunk takes some milliseconds: the deadline is looked at after each.
constexpr std::size_t chunk_size = std::size_t{1} << 17;

struct Deflater {
    Deflater() {
        if (deflateInit(&stream, Z_DEFAULT_COMPRESSION) != Z_OK) throw EncodeError("zlib cannot be initialised");
    }
    Deflater(const Deflater&) = delete;
    Deflater& operator=(const Deflater&) = delete;
    ~Deflater() { deflateEnd(&stream); }
    z_stream stream{};
};

struct Inflater {
    Inflater() {
        if (inflateInit(&stream) != Z_OK) throw DecodeError("zlib cannot be initialised");
    }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;
    ~Inflater() { inflateEnd(&stream); }
    z_stream stream{};
};

void feed(z_stream& stream, std::string_view& data) {
    const std::size_t size = std::min(data.size(), chunk_size);
    // zlib's interface predates const.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
    stream.avail_in = static_cast<uInt>(size);
    data.remove_prefix(size);
}

std::string deflated(std::string_view data, Deadline deadline) {
    Deflater zlib;
    std::string out;
    std::array<char, 16384> buffer{};
    int status = Z_OK;
    while (status != Z_STREAM_END) {
        if (zlib.stream.avail_in == 0) {
            check_in_time(deadline);
            feed(zlib.stream, data);
        }
        zlib.stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
        zlib.stream.avail_out = buffer.size();
        status = deflate(&zlib.stream, data.empty() ? Z_FINISH : Z_NO_FLUSH);
        if (status == Z_STREAM_ERROR) throw EncodeError("zlib failed");
        out.append(buffer.data(), buffer.size() - zlib.stream.avail_out);
    }
    return out;
}

std::string inflated(std::string_view data, std::size_t limit) {
    Inflater zlib;
    std::string out;
    std::array<char, 16384> buffer{};
    int status = Z_OK;
    while (status != Z_STREAM_END) {
        if (zlib.stream.avail_in == 0) {
            if (data.empty()) throw DecodeError("the compressed body is truncated");
            feed(zlib.stream, data);
        }
        zlib.stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
        zlib.stream.avail_out = buffer.size();
        status = inflate(&zlib.stream, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            throw DecodeError("the compressed body is corrupt");
        const std::size_t produced = buffer.size() - zlib.stream.avail_out;
        if (produced > limit - out.size())
            throw DecodeError("the decompressed body would exceed " + std::to_string(limit) + " bytes");
        out.append(buffer.data(), produced);
    }
    if (zlib.stream.avail_in != 0 || !data.empty()) throw DecodeError("the compressed body is followed by other data");
    return out;
}

constexpr std::string_view gzip_type = "application/x-gzip";

}  // namespace

std::string_view compression_type(std::string_view name) {
    if (name == gzip_type || name == "zlib" || name == "gzip") return gzip_type;
    throw SerializerNotInstalled("no such compression: " + std::string{name.substr(0, 100)} + " (" +
                                 suggest(name, {"zlib", "gzip", std::string{gzip_type}}) + ")");
}

std::string compress(std::string_view data, std::string_view name, Deadline deadline) {
    compression_type(name);
    return deflated(data, deadline);
}

std::string compress(std::string_view data, std::string_view name) { return compress(data, name, Deadline::never()); }

std::string decompress(std::string_view data, std::string_view name, std::size_t limit) {
    compression_type(name);
    return inflated(data, limit);
}

}  // namespace kombu
