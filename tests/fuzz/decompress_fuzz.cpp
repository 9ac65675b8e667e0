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
    const char* const name = names[take_byte(input) % std::size(names)];
    std::string text;
    try {
        text = kombu::decompress(input, name, limit);
    } catch (const kombu::DecodeError&) {
        return;
    } catch (const kombu::SerializerNotInstalled&) {
        return;
    }
    require(text.size() <= limit, "the limit holds");
    require(kombu::decompress(kombu::compress(text, name), name, limit) == text, "compression keeps a body");
}
