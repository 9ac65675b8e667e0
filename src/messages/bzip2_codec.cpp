// SPDX-License-Identifier: BSD-3-Clause
#include "messages/codec.hpp"

#ifdef KOMBU_WITH_BZIP2

#include <bzlib.h>

namespace kombu::codec {
namespace {

/// bzip2 cannot reset a stream.
struct Compressor {
    Compressor() {
        constexpr int block_size = 9, verbosity = 0, default_work = 0;  // as Python
        if (BZ2_bzCompressInit(&stream, block_size, verbosity, default_work) != BZ_OK)
            throw EncodeError("bzip2 cannot be initialised");
    }
    Compressor(const Compressor&) = delete;
    Compressor& operator=(const Compressor&) = delete;
    ~Compressor() { BZ2_bzCompressEnd(&stream); }
    bz_stream stream{};
};

struct Decompressor {
    Decompressor() {
        if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK) throw DecodeError("bzip2 cannot be initialised");
    }
    Decompressor(const Decompressor&) = delete;
    Decompressor& operator=(const Decompressor&) = delete;
    ~Decompressor() { BZ2_bzDecompressEnd(&stream); }
    bz_stream stream{};
};

}  // namespace

std::string bzip2_compress(std::string_view data, Deadline deadline) {
    Compressor bzip2;
    Input input{data, deadline};
    Output output;
    pump(bzip2.stream, input, output, [&](bool is_last) {
        const int status = BZ2_bzCompress(&bzip2.stream, is_last ? BZ_FINISH : BZ_RUN);
        if (status < 0) throw EncodeError("bzip2 failed");
        return status == BZ_STREAM_END ? Progress::done : Progress::more;
    });
    return output.take();
}

std::string bzip2_decompress(std::string_view data, std::size_t limit) {
    Decompressor bzip2;
    Input input{data};
    Output output{limit};
    pump(bzip2.stream, input, output, [&](bool) {
        const int status = BZ2_bzDecompress(&bzip2.stream);
        if (status != BZ_OK && status != BZ_STREAM_END) throw DecodeError("the compressed body is corrupt");
        return status == BZ_STREAM_END ? Progress::done : Progress::more;
    });
    return output.take();
}

}  // namespace kombu::codec

#endif
