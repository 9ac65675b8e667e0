// SPDX-License-Identifier: BSD-3-Clause
#include "messages/codec.hpp"

#include <zlib.h>

namespace kombu::codec {
namespace {

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

}  // namespace

std::string zlib_compress(std::string_view data, Deadline deadline) {
    Deflater& zlib = of_this_thread<Deflater>();
    deflateReset(&zlib.stream);
    Input input{data, deadline};
    Output output;
    pump(zlib.stream, input, output, [&](bool is_last) {
        const int status = deflate(&zlib.stream, is_last ? Z_FINISH : Z_NO_FLUSH);
        if (status == Z_STREAM_ERROR) throw EncodeError("zlib failed");
        return status == Z_STREAM_END ? Progress::done : Progress::more;
    });
    return output.take();
}

std::string zlib_decompress(std::string_view data, std::size_t limit) {
    Inflater& zlib = of_this_thread<Inflater>();
    inflateReset(&zlib.stream);
    Input input{data};
    Output output{limit};
    pump(zlib.stream, input, output, [&](bool) {
        const int status = inflate(&zlib.stream, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            throw DecodeError("the compressed body is corrupt");
        return status == Z_STREAM_END ? Progress::done : Progress::more;
    });
    return output.take();
}

}  // namespace kombu::codec
