// SPDX-License-Identifier: BSD-3-Clause
#include "messages/codec.hpp"

#ifdef KOMBU_WITH_BROTLI

#include <brotli/decode.h>
#include <brotli/encode.h>

#include <cstdint>
#include <memory>

namespace kombu::codec {
namespace {

struct Destroy {
    void operator()(BrotliEncoderState* state) const noexcept { BrotliEncoderDestroyInstance(state); }
    void operator()(BrotliDecoderState* state) const noexcept { BrotliDecoderDestroyInstance(state); }
};

const std::uint8_t* bytes_of(std::string_view data) noexcept {
    return reinterpret_cast<const std::uint8_t*>(data.data());
}

}  // namespace

// brotli cannot reset a state.

std::string brotli_compress(std::string_view data, Deadline deadline) {
    const std::unique_ptr<BrotliEncoderState, Destroy> brotli{BrotliEncoderCreateInstance(nullptr, nullptr, nullptr)};
    if (!brotli) throw EncodeError("brotli cannot be initialised");
    Input input{data, deadline};
    Output output;
    do {
        const std::string_view step = input.next();
        const std::uint8_t* in = bytes_of(step);
        std::size_t in_size = step.size();
        const BrotliEncoderOperation operation = input.empty() ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_PROCESS;
        do {
            auto* out = reinterpret_cast<std::uint8_t*>(output.space());
            std::size_t out_size = Output::space_size;
            if (!BrotliEncoderCompressStream(brotli.get(), operation, &in_size, &in, &out_size, &out, nullptr))
                throw EncodeError("brotli failed");
            output.commit(Output::space_size - out_size);
        } while (in_size != 0 || BrotliEncoderHasMoreOutput(brotli.get()));
    } while (!input.empty());
    return output.take();
}

std::string brotli_decompress(std::string_view data, std::size_t limit) {
    const std::unique_ptr<BrotliDecoderState, Destroy> brotli{BrotliDecoderCreateInstance(nullptr, nullptr, nullptr)};
    if (!brotli) throw DecodeError("brotli cannot be initialised");
    Output output{limit};
    const std::uint8_t* in = bytes_of(data);
    std::size_t in_size = data.size();
    for (BrotliDecoderResult result = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
         result != BROTLI_DECODER_RESULT_SUCCESS;) {
        auto* out = reinterpret_cast<std::uint8_t*>(output.space());
        std::size_t out_size = Output::space_size;
        result = BrotliDecoderDecompressStream(brotli.get(), &in_size, &in, &out_size, &out, nullptr);
        if (result == BROTLI_DECODER_RESULT_ERROR) throw DecodeError("the compressed body is corrupt");
        output.commit(Output::space_size - out_size);
        if (result == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT) throw DecodeError("the compressed body is truncated");
    }
    if (in_size != 0) throw DecodeError("the compressed body is followed by other data");
    return output.take();
}

}  // namespace kombu::codec

#endif
