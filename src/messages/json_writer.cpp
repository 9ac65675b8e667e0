// SPDX-License-Identifier: BSD-3-Clause
#include "messages/json_writer.hpp"

#include <kombu/error.hpp>

#include "messages/json_depth.hpp"
#include "messages/json_tokens.hpp"
#include "support/pieces.hpp"
#include "support/utf8.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace kombu::json_text {
namespace {

/// A piece of a text, without quotes.
void append_compact_text(std::string& out, std::string_view text) {
    const std::size_t prefix_size = plain_prefix(text);
    out += text.substr(0, prefix_size);
    text.remove_prefix(prefix_size);
    if (text.empty()) return;
    if (!is_utf8(text)) throw EncodeError("a text in the JSON value is not valid UTF-8");
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || c == '"' || c == '\\')
            append_escaped(out, byte);
        else
            out += c;
    }
}

/// Copies a text without special characters, and returns the end of the copy. Returns null when there is one;
/// what `to` has then is of no use.
char* copy_plain(char* to, std::string_view text) {
    const char* const from = text.data();
    const std::size_t size = text.size();
    const auto copy = [&](std::size_t at) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, from + at, 8);
        std::memcpy(to + at, &eight, 8);
        return !has_special(eight);
    };
    if (size >= 8) {
        for (std::size_t at = 0; at + 8 < size; at += 8)
            if (!copy(at)) return nullptr;
        return copy(size - 8) ? to + size : nullptr;
    }
    std::uint64_t all = 0x2020202020202020;  // spaces instead of missing characters
    if (size >= 4) {
        std::uint32_t first = 0, last = 0;
        std::memcpy(&first, from, 4);
        std::memcpy(&last, from + size - 4, 4);
        std::memcpy(to, &first, 4);
        std::memcpy(to + size - 4, &last, 4);
        all = std::uint64_t{last} << 32 | first;
    } else {
        for (std::size_t i = 0; i < size; ++i) {
            to[i] = from[i];
            all = all << 8 | static_cast<unsigned char>(from[i]);
        }
    }
    return has_special(all) ? nullptr : to + size;
}

/// Collects the text in a buffer of its own, which is cheaper than a string that checks and ends itself at each append.
class CompactWriter {
public:
    CompactWriter(std::string& out, Deadline deadline)
        : out_(out), next_check_(out.size() + piece_size), deadline_(deadline) {}

    void write(const Json& value, std::size_t depth_left) {
        switch (value.type()) {
            case Json::value_t::object: {
                const std::size_t left = descend(depth_left);
                char before = '{';
                for (const auto& [name, inner] : *value.get_ptr<const Json::object_t*>()) {
                    write_character(before);
                    write_string(name);
                    write_character(':');
                    write(inner, left);
                    before = ',';
                }
                if (before == '{') write_character('{');
                return write_character('}');
            }
            case Json::value_t::array: {
                const std::size_t left = descend(depth_left);
                char before = '[';
                for (const Json& inner : *value.get_ptr<const Json::array_t*>()) {
                    write_character(before);
                    write(inner, left);
                    before = ',';
                }
                if (before == '[') write_character('[');
                return write_character(']');
            }
            case Json::value_t::string: return write_string(*value.get_ptr<const std::string*>());
            default: make_room(max_scalar_size); at_ = write_scalar(at_, value);
        }
    }

    /// Looks at the deadline whenever the text has grown by a piece.
    void flush() {
        out_.append(buffer_.data(), at_);
        at_ = buffer_.data();
        if (out_.size() < next_check_) return;
        check_in_time(deadline_);
        next_check_ = out_.size() + piece_size;
    }

private:
    void make_room(std::size_t size) {
        if (static_cast<std::size_t>(buffer_.data() + buffer_.size() - at_) < size) flush();
    }
    void write_character(char c) {
        make_room(1);
        *at_++ = c;
    }
    /// Texts that are long or have special characters go past the buffer.
    void write_string(std::string_view text) {
        if (text.size() + 2 <= buffer_.size()) {
            make_room(text.size() + 2);
            *at_ = '"';
            if (char* const end = copy_plain(at_ + 1, text)) {
                *end = '"';
                at_ = end + 1;
                return;
            }
        }
        write_character('"');
        flush();
        for_each_piece(text, deadline_, [&](std::string_view piece) { append_compact_text(out_, piece); });
        write_character('"');
    }

    std::string& out_;
    std::size_t next_check_;
    Deadline deadline_;
    std::array<char, 512> buffer_;
    char* at_ = buffer_.data();
};

}  // namespace

void append_compact(std::string& out, const Json& value, Deadline deadline) {
    CompactWriter writer{out, deadline};
    try {
        writer.write(value, max_depth);
    } catch (const EncodeError& error) {
        throw_with_path(value, error);
    }
    writer.flush();
}

}  // namespace kombu::json_text
