// SPDX-License-Identifier: BSD-3-Clause
#include "support/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kombu {

namespace {

constexpr std::uint64_t high_bits = 0x8080808080808080;

std::uint64_t eight_bytes(const char* at) noexcept {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, at, sizeof bytes);
    return bytes;
}

/// The place, from `begin` on, of the first byte that is not ASCII, else the size.
std::size_t skip_ascii(std::string_view text, std::size_t begin) noexcept {
    const char* const data = text.data();
    const std::size_t size = text.size();
    std::size_t i = begin;
    for (; size - i >= 32; i += 32) {
        const std::uint64_t all =
            eight_bytes(data + i) | eight_bytes(data + i + 8) | eight_bytes(data + i + 16) | eight_bytes(data + i + 24);
        if ((all & high_bits) != 0) break;
    }
    for (; size - i >= 8; i += 8)
        if ((eight_bytes(data + i) & high_bits) != 0) break;
    // Of what is left, fewer than eight bytes, together with some before them.
    if (size - i < 8 && size - begin >= 8 && (eight_bytes(data + size - 8) & high_bits) == 0) return size;
    while (i < size && static_cast<unsigned char>(data[i]) < 0x80) ++i;
    return i;
}

}  // namespace

bool is_utf8(std::string_view text) {
    for (std::size_t i = 0;;) {
        i = skip_ascii(text, i);
        if (i == text.size()) return true;
        const auto c = static_cast<unsigned char>(text[i]);
        const std::size_t length = c >= 0xc2 && c < 0xe0   ? 2
                                   : c >= 0xe0 && c < 0xf0 ? 3
                                   : c >= 0xf0 && c < 0xf5 ? 4
                                                           : 0;
        if (length == 0 || i + length > text.size()) return false;
        std::uint32_t code = c & (0xffu >> (length + 1));
        for (std::size_t k = 1; k < length; ++k) {
            const auto next = static_cast<unsigned char>(text[i + k]);
            if ((next & 0xc0) != 0x80) return false;
            code = code << 6 | (next & 0x3fu);
        }
        if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff)) ||
            (code >= 0xd800 && code < 0xe000))
            return false;
        i += length;
    }
}

}  // namespace kombu
