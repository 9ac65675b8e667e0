// SPDX-License-Identifier: BSD-3-Clause
#include "messages/codec.hpp"

#ifdef KOMBU_WITH_LZMA

#include <lzma.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace kombu::codec {
namespace {

/// The memory that a received body may demand, which is allocated at once: that of `xz -8`, rounded up. Python's lzma
/// module demands a quarter.
constexpr std::uint64_t max_memory = std::uint64_t{40} << 20;

struct Coder {
    Coder() = default;
    Coder(const Coder&) = delete;
    Coder& operator=(const Coder&) = delete;
    ~Coder() { lzma_end(&stream); }
    lzma_stream stream = LZMA_STREAM_INIT;
};

struct Encoder : Coder {};
struct Decoder : Coder {};

}  // namespace

// A coder that is initialised again reuses its memory.

std::string xz_compress(std::string_view data, Deadline deadline) {
    Coder& xz = of_this_thread<Encoder>();
    lzma_options_lzma options{};
    lzma_lzma_preset(&options, LZMA_PRESET_DEFAULT);
    // A larger window than the body has no effect but memory: 94 MiB for the default of 8 MiB.
    options.dict_size = std::clamp(static_cast<std::uint32_t>(std::min<std::size_t>(data.size(), options.dict_size)),
                                   std::uint32_t{LZMA_DICT_SIZE_MIN}, options.dict_size);
    const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
    if (lzma_stream_encoder(&xz.stream, filters, LZMA_CHECK_CRC64) != LZMA_OK)
        throw EncodeError("xz cannot be initialised");
    Input input{data, deadline};
    Output output;
    pump(xz.stream, input, output, [&](bool is_last) {
        const lzma_ret status = lzma_code(&xz.stream, is_last ? LZMA_FINISH : LZMA_RUN);
        if (status != LZMA_OK && status != LZMA_STREAM_END) throw EncodeError("xz failed");
        return status == LZMA_STREAM_END ? Progress::done : Progress::more;
    });
    return output.take();
}

std::string xz_decompress(std::string_view data, std::size_t limit) {
    Coder& xz = of_this_thread<Decoder>();
    // Python's lzma module reads both formats too.
    if (lzma_auto_decoder(&xz.stream, max_memory, 0) != LZMA_OK) throw DecodeError("xz cannot be initialised");
    Input input{data};
    Output output{limit};
    pump(xz.stream, input, output, [&](bool) {
        const lzma_ret status = lzma_code(&xz.stream, LZMA_RUN);
        if (status == LZMA_MEMLIMIT_ERROR) throw DecodeError("the compressed body demands too much memory");
        if (status != LZMA_OK && status != LZMA_STREAM_END && status != LZMA_BUF_ERROR)
            throw DecodeError("the compressed body is corrupt");
        return status == LZMA_STREAM_END ? Progress::done : Progress::more;
    });
    return output.take();
}

}  // namespace kombu::codec

#endif
