// SPDX-License-Identifier: BSD-3-Clause
// Compressed bodies of every method: an error, or no more bytes than allowed.
#include <kombu/compression.hpp>
#include <kombu/error.hpp>

#include "fuzz.hpp"

#include <iterator>
#include <string>

void fuzz(std::string_view input) {
    static constexpr const char* names[] = {"zlib", "bzip2", "lzma", "zstd", "brotli"};
    static constexpr std::size_t limit = std::size_t{1} << 20;
    const unsigned choice = take_byte(input);
    const char* const name = names[choice % std::size(names)];
    std::string text;
    try {
        text = kombu::decompress(input, name, limit);
    } catch (const kombu::DecodeError&) {
        return;
    } catch (const kombu::SerializerNotInstalled&) {
        return;
    }
    require(text.size() <= limit, "the limit holds");
    // Compressing takes a hundred times as long as refusing: one choice in sixteen does.
    if (choice < 240) return;
    require(kombu::decompress(kombu::compress(text, name), name, limit) == text, "compression keeps a body");
}
