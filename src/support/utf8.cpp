// SPDX-License-Identifier: BSD-3-Clause
#include "support/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kombu {

bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        // ASCII characters, mostly.
        std::uint64_t eight = 0, words[4];
        while (text.size() - i >= sizeof words) {
            std::memcpy(words, text.data() + i, sizeof words);
            if (((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080) != 0) break;
            i += sizeof words;
        }
        while (text.size() - i >= 8) {
            std::memcpy(&eight, text.data() + i, 8);
            if ((eight & 0x8080808080808080) != 0) break;
            i += 8;
        }
        if (i == text.size()) break;
        const auto c = static_cast<unsigned char>(text[i]);
        const std::size_t length = c < 0x80                ? 1
                                   : c >= 0xc2 && c < 0xe0 ? 2
                                   : c >= 0xe0 && c < 0xf0 ? 3
                                   : c >= 0xf0 && c < 0xf5 ? 4
                                                           : 0;
        if (length == 0 || i + length > text.size()) return false;
        std::uint32_t code = length == 1 ? c : c & (0xffu >> (length + 1));
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
    return true;
}

}  // namespace kombu
