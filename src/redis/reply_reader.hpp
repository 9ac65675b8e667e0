// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redis/reply.hpp"

#include <cstddef>
#include <memory>
#include <utility>

struct redisReader;

namespace kombu::redis {

/// Parses replies from input that arrives in pieces of any size, with the reader of hiredis. Lengths are checked when
/// they are announced, and memory grows with the input received, not with announced lengths. Throws InvalidInput on a
/// protocol violation; the reader cannot be used any more then.
class ReplyReader {
public:
    /// Maximum size of a bulk string in bytes: a message with its envelope, generously.
    static constexpr std::size_t max_text = std::size_t{256} << 20;
    static constexpr std::size_t max_line = std::size_t{64} << 10;
    /// Of a reply with all that it contains.
    static constexpr std::size_t max_elements = std::size_t{1} << 20;
    /// Of arrays within arrays.
    static constexpr std::size_t max_depth = 7;

    ReplyReader();
    ReplyReader(const ReplyReader&) = delete;
    ReplyReader& operator=(const ReplyReader&) = delete;
    ~ReplyReader();

    /// Where to put what arrives, and how much may be put there.
    std::pair<char*, std::size_t> space() noexcept { return {input_.get(), input_size}; }
    void added(std::size_t count);
    /// The next whole reply, until the next call. The caller may move from it. Null if there is none.
    Reply* next();

private:
    struct Builder;
    struct Free {
        void operator()(redisReader* reader) const noexcept;
    };

    /// Not larger than max_line, so that no longer line is read unnoticed.
    static constexpr std::size_t input_size = std::size_t{16} << 10;

    void check_pending() const;

    std::unique_ptr<char[]> input_;
    std::unique_ptr<Builder> builder_;
    std::unique_ptr<redisReader, Free> reader_;
};

}  // namespace kombu::redis
