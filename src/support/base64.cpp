// SPDX-License-Identifier: BSD-3-Clause
#include "support/base64.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace kombu::base64 {
namespace {

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Maps twelve bits to two characters, which halves the number of look-ups.
constexpr auto char_pairs = [] {
    std::array<std::array<char, 2>, 4096> table{};
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = {alphabet[i >> 6], alphabet[i & 63]};
    return table;
}();

constexpr unsigned char not_in_alphabet = 0xff;
constexpr auto sextet_values = [] {
    std::array<unsigned char, 256> table{};
    for (auto& value : table) value = not_in_alphabet;
    for (std::size_t i = 0; i < alphabet.size(); ++i)
        table[static_cast<unsigned char>(alphabet[i])] = static_cast<unsigned char>(i);
    return table;
}();

}  // namespace

void append_encoded(std::string& out, std::string_view data) {
    const std::size_t before = out.size();
    out.resize(before + encoded_size(data.size()));
    char* to = out.data() + before;
    const auto* from = reinterpret_cast<const unsigned char*>(data.data());
    std::size_t left = data.size();
    // Reads eight bytes at once and encodes six of them.
    for (; left >= 8; left -= 6, from += 6, to += 8) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, from, sizeof bits);
        if constexpr (std::endian::native == std::endian::little) bits = __builtin_bswap64(bits);
        std::memcpy(to, char_pairs[bits >> 52].data(), 2);
        std::memcpy(to + 2, char_pairs[bits >> 40 & 4095].data(), 2);
        std::memcpy(to + 4, char_pairs[bits >> 28 & 4095].data(), 2);
        std::memcpy(to + 6, char_pairs[bits >> 16 & 4095].data(), 2);
    }
    for (; left >= 3; left -= 3, from += 3, to += 4) {
        const std::uint32_t bits = std::uint32_t{from[0]} << 16 | std::uint32_t{from[1]} << 8 | from[2];
        std::memcpy(to, char_pairs[bits >> 12].data(), 2);
        std::memcpy(to + 2, char_pairs[bits & 4095].data(), 2);
    }
    if (left == 0) return;
    const std::uint32_t bits = std::uint32_t{from[0]} << 16 | (left == 2 ? std::uint32_t{from[1]} << 8 : 0u);
    std::memcpy(to, char_pairs[bits >> 12].data(), 2);
    to[2] = left == 2 ? char_pairs[bits & 4095][0] : '=';
    to[3] = '=';
}

std::optional<std::string> decode(std::string_view text) {
    std::string out(text.size() / 4 * 3, '\0');
    // First whole groups of four characters, which are nearly everything.
    char* to = out.data();
    for (; text.size() >= 4; text.remove_prefix(4), to += 3) {
        const auto value = [&](std::size_t i) { return sextet_values[static_cast<unsigned char>(text[i])]; };
        const unsigned char a = value(0), b = value(1), c = value(2), d = value(3);
        if (((a | b | c | d) & 0x80) != 0) break;  // not_in_alphabet
        to[0] = static_cast<char>(a << 2 | b >> 4);
        to[1] = static_cast<char>(b << 4 | c >> 2);
        to[2] = static_cast<char>(c << 6 | d);
    }
    out.resize(static_cast<std::size_t>(to - out.data()));
    std::uint32_t bits = 0;
    unsigned group_size = 0, padding = 0;
    for (const char c : text) {
        if (c == '=') {
            // Python stops at the padding that completes a group.
            if (group_size + ++padding >= 4) break;
            continue;
        }
        const unsigned char value = sextet_values[static_cast<unsigned char>(c)];
        if (value == not_in_alphabet) continue;
        padding = 0;
        bits = bits << 6 | value;
        if (++group_size < 4) continue;
        out.push_back(static_cast<char>(bits >> 16));
        out.push_back(static_cast<char>(bits >> 8 & 0xff));
        out.push_back(static_cast<char>(bits & 0xff));
        bits = 0;
        group_size = 0;
    }
    if (group_size == 0) return out;
    if (group_size == 1 || group_size + padding != 4) return std::nullopt;
    bits <<= 6 * (4 - group_size);
    out.push_back(static_cast<char>(bits >> 16));
    if (group_size == 3) out.push_back(static_cast<char>(bits >> 8 & 0xff));
    return out;
}

}  // namespace kombu::base64
