// SPDX-License-Identifier: BSD-3-Clause
// Compressing and decompressing bodies with the state that each thread keeps, compared with zlib's compress() and
// uncompress(), which set it up each time. CPU time of the thread, medians.
//
//   compression [REPETITIONS]
#include <kombu/compression.hpp>
#include <kombu/error.hpp>

#include "processor_time.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

std::string fresh_compress(const std::string& text) {
    std::string result(::compressBound(text.size()), '\0');
    uLongf size = result.size();
    ::compress(reinterpret_cast<Bytef*>(result.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
               text.size());
    result.resize(size);
    return result;
}

void fresh_uncompress(const std::string& compressed, std::size_t size) {
    std::string result(size, '\0');
    uLongf length = size;
    ::uncompress(reinterpret_cast<Bytef*>(result.data()), &length, reinterpret_cast<const Bytef*>(compressed.data()),
                 compressed.size());
}

/// JSON, as messages have it.
std::string body_of(std::size_t size) {
    std::string text = "[";
    for (unsigned n = 1; text.size() < size; n = n * 1664525u + 1013904223u)
        text += "{\"id\":" + std::to_string(n % 100'000) + ",\"name\":\"article " + std::to_string(n % 97) + "\"},";
    text.resize(size - 1);
    return text + "]";
}

}  // namespace

int main(int count, char** arguments) {
    const int repetitions = count > 1 ? std::atoi(arguments[1]) : 500;
    std::printf("%-12s %8s %14s %14s %8s\n", "", "bytes", "fresh, ns", "here, ns", "ratio");
    for (const std::size_t size : {std::size_t{100}, std::size_t{1024}, std::size_t{16384}}) {
        const std::string body = body_of(size), compressed = kombu::compress(body, "zlib");
        const auto show = [&](const char* name, double fresh, double reused) {
            std::printf("%-12s %8zu %14.0f %14.0f %8.2f\n", name, size, fresh, reused, reused / fresh);
        };
        show("compress", median_nanoseconds(repetitions, 20, [&] { (void)fresh_compress(body); }),
             median_nanoseconds(repetitions, 20, [&] { (void)kombu::compress(body, "zlib"); }));
        show("decompress", median_nanoseconds(repetitions, 20, [&] { fresh_uncompress(compressed, size); }),
             median_nanoseconds(repetitions, 20, [&] { (void)kombu::decompress(compressed, "zlib"); }));
    }
    for (const char* name : {"bzip2", "lzma", "zstd", "brotli"}) {
        const std::string body = body_of(1024);
        try {
            const std::string compressed = kombu::compress(body, name);
            std::printf("%-12s %8d %14s %14.0f\n", name, 1024, "",
                        median_nanoseconds(repetitions / 5, 20, [&] { (void)kombu::compress(body, name); }));
        } catch (const kombu::SerializerNotInstalled&) {
            std::printf("%-12s is not in this build\n", name);
        }
    }
    return 0;
}
