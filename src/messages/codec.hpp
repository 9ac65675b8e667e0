// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>

#include "support/pieces.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

/// The compression methods that are built in, each in a file of its own. Their state is kept for each thread, since
/// setting it up costs more than compressing a small body.
namespace kombu::codec {

/// A state that each thread has. On the heap: a library that is loaded at run time has little room for thread-local
/// variables.
template <class State>
State& of_this_thread() {
    thread_local const std::unique_ptr<State> state{new State};
    return *state;
}

/// A step of a codec takes some milliseconds at most: the deadline is looked at after each.
inline constexpr std::size_t step_size = std::size_t{1} << 17;

/// Where a codec writes. Throws when the size would exceed the limit.
class Output {
public:
    explicit Output(std::size_t limit = std::numeric_limits<std::size_t>::max()) : limit_(limit) {}

    /// A buffer of this thread.
    static char* space();
    static constexpr std::size_t space_size = 16384;
    /// Takes what was written to space().
    void commit(std::size_t size) {
        if (size > limit_ - text_.size())
            throw DecodeError("the decompressed body would exceed " + std::to_string(limit_) + " bytes");
        text_.append(space(), size);
    }
    std::string take() noexcept { return std::move(text_); }

private:
    std::size_t limit_;
    std::string text_;
};

/// The input of a codec, in steps.
class Input {
public:
    explicit Input(std::string_view data, Deadline deadline = Deadline::never()) : data_(data), deadline_(deadline) {}

    bool empty() const noexcept { return data_.empty(); }
    std::string_view next() {
        check_in_time(deadline_);
        const std::string_view step = data_.substr(0, step_size);
        data_.remove_prefix(step.size());
        return step;
    }

private:
    std::string_view data_;
    Deadline deadline_;
};

enum class Progress { more, done };

/// Runs a stream of zlib, bzip2 or xz, which have the same fields. `step(is_last)` advances it and tells whether it is
/// done; `is_last` tells that no input follows.
template <class Stream, class Step>
void pump(Stream& stream, Input& input, Output& output, Step step) {
    stream.avail_in = 0;
    for (Progress progress = Progress::more; progress == Progress::more;) {
        if (stream.avail_in == 0 && !input.empty()) {
            const std::string_view data = input.next();
            // The interfaces of zlib and bzip2 predate const.
            stream.next_in = reinterpret_cast<decltype(stream.next_in)>(const_cast<char*>(data.data()));
            stream.avail_in = static_cast<decltype(stream.avail_in)>(data.size());
        }
        stream.next_out = reinterpret_cast<decltype(stream.next_out)>(output.space());
        stream.avail_out = Output::space_size;
        const auto input_before = stream.avail_in;
        progress = step(input.empty());
        const std::size_t produced = Output::space_size - stream.avail_out;
        const bool is_stuck = produced == 0 && stream.avail_in == input_before && input.empty();
        if (progress == Progress::more && is_stuck) throw DecodeError("the compressed body is truncated");
        output.commit(produced);
    }
    if (stream.avail_in != 0 || !input.empty()) throw DecodeError("the compressed body is followed by other data");
}

std::string zlib_compress(std::string_view data, Deadline deadline);
std::string zlib_decompress(std::string_view data, std::size_t limit);
std::string bzip2_compress(std::string_view data, Deadline deadline);
std::string bzip2_decompress(std::string_view data, std::size_t limit);
std::string xz_compress(std::string_view data, Deadline deadline);
std::string xz_decompress(std::string_view data, std::size_t limit);
std::string zstd_compress(std::string_view data, Deadline deadline);
std::string zstd_decompress(std::string_view data, std::size_t limit);
std::string brotli_compress(std::string_view data, Deadline deadline);
std::string brotli_decompress(std::string_view data, std::size_t limit);

}  // namespace kombu::codec
