// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// RESP, the protocol of Redis: versions 2 and 3 are read, commands are the same in both.
namespace kombu::redis {

struct Reply {
    enum class Type : std::uint8_t { nil, status, error, integer, text, array, push };

    Type type = Type::nil;
    std::int64_t integer = 0;
    /// Of a status, an error and a text; of RESP 3's real and big numbers too.
    std::string text{};
    /// Of an array (a set, a map as key and value in turn) and of a push.
    std::vector<Reply> elements{};

    bool is(Type of) const noexcept { return type == of; }
};

/// Parses replies from input that arrives in pieces of any size. Lengths are checked when they are announced, and
/// memory grows with the input received, not with announced lengths. Throws ConnectionError on a protocol violation.
class ReplyReader {
public:
    /// Maximum size of a bulk string in bytes: a message with its envelope, generously.
    static constexpr std::size_t max_text = std::size_t{256} << 20;
    static constexpr std::size_t max_line = std::size_t{64} << 10;
    static constexpr std::size_t max_elements = std::size_t{1} << 20;
    static constexpr std::size_t max_depth = 8;

    /// Where to put what arrives, and how much may be put there.
    std::pair<char*, std::size_t> space();
    void added(std::size_t count) noexcept { end_ += count; }
    /// The next whole reply.
    std::optional<Reply> next();

private:
    bool scan();
    Reply build();
    void compact();

    std::vector<char> buffer_{};
    std::size_t begin_ = 0, end_ = 0;
    std::size_t scanned_ = 0;              // everything before it belongs to whole elements of the reply at begin_
    std::vector<std::size_t> expected_{};  // elements that the arrays around scanned_ still lack
    std::size_t elements_ = 0;             // of the reply at begin_, so far
    std::size_t at_ = 0;                   // where build() reads
};

/// Appends a command to what is to be sent.
void append_command(std::string& out, std::initializer_list<std::string_view> arguments);
/// The beginning of one, for arguments that are appended by the next two.
void append_command_header(std::string& out, std::size_t arguments);
void append_argument(std::string& out, std::string_view argument);
void append_argument_header(std::string& out, std::size_t size);

}  // namespace kombu::redis
