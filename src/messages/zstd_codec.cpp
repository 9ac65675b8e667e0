// SPDX-License-Identifier: BSD-3-Clause
#include "messages/codec.hpp"

#ifdef KOMBU_WITH_ZSTD

#include <zstd.h>

#include <memory>

namespace kombu::codec {
namespace {

/// The window that a received body may demand, which is allocated at once: 32 MiB. The highest level without --ultra
/// demands 8.
constexpr int max_window_log = 25;

struct Free {
    void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
    void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

}  // namespace

std::string zstd_compress(std::string_view data, Deadline deadline) {
    thread_local const std::unique_ptr<ZSTD_CCtx, Free> zstd{ZSTD_createCCtx()};
    if (!zstd) throw EncodeError("zstd cannot be initialised");
    ZSTD_CCtx_reset(zstd.get(), ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setPledgedSrcSize(zstd.get(), data.size());
    Input input{data, deadline};
    Output output;
    do {
        const std::string_view step = input.next();
        const ZSTD_EndDirective directive = input.empty() ? ZSTD_e_end : ZSTD_e_continue;
        ZSTD_inBuffer in{step.data(), step.size(), 0};
        for (bool is_done = false; !is_done;) {
            ZSTD_outBuffer out{output.space(), Output::space_size, 0};
            const std::size_t left = ZSTD_compressStream2(zstd.get(), &out, &in, directive);
            if (ZSTD_isError(left)) throw EncodeError("zstd failed");
            output.commit(out.pos);
            is_done = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
        }
    } while (!input.empty());
    return output.take();
}

std::string zstd_decompress(std::string_view data, std::size_t limit) {
    thread_local const std::unique_ptr<ZSTD_DCtx, Free> zstd{ZSTD_createDCtx()};
    if (!zstd) throw DecodeError("zstd cannot be initialised");
    ZSTD_DCtx_reset(zstd.get(), ZSTD_reset_session_and_parameters);
    ZSTD_DCtx_setParameter(zstd.get(), ZSTD_d_windowLogMax, max_window_log);
    Output output{limit};
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    for (std::size_t left = 1; left != 0;) {
        ZSTD_outBuffer out{output.space(), Output::space_size, 0};
        left = ZSTD_decompressStream(zstd.get(), &out, &in);
        if (ZSTD_isError(left)) throw DecodeError("the compressed body is corrupt");
        output.commit(out.pos);
        if (left != 0 && in.pos == in.size && out.pos < out.size) throw DecodeError("the compressed body is truncated");
    }
    if (in.pos != in.size) throw DecodeError("the compressed body is followed by other data");
    return output.take();
}

}  // namespace kombu::codec

#endif
