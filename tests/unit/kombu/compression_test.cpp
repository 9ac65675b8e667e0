// SPDX-License-Identifier: BSD-3-Clause
// Compression methods: the built-in ones behave alike, and programs add their own.
#include "support/catch.hpp"

#include <kombu/compression.hpp>
#include <kombu/connection.hpp>
#include <kombu/error.hpp>
#include <kombu/simple_queue.hpp>

#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using Catch::Matchers::Contains;

namespace {

/// Kombu's content types and aliases.
const std::map<std::string, std::vector<std::string>> methods{
    {"application/x-gzip", {"zlib", "gzip"}}, {"application/x-bz2", {"bzip2", "bzip", "bz2"}},
    {"application/x-lzma", {"lzma", "xz"}},   {"application/zstd", {"zstd", "zstandard"}},
    {"application/x-brotli", {"brotli"}},
};

std::string noise(std::size_t size) {
    std::mt19937 random{1};  // the same text each time
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

}  // namespace

TEST_CASE("Z1 bodies survive every compression, by name, alias and type", "[compression]") {
    const std::vector<std::string> bodies{"", "abc", std::string(1'000'000, 'x'), noise(300'000)};
    for (const auto& [type, aliases] : methods) {
        for (const std::string& body : bodies) {
            INFO(type << ' ' << body.size());
            const std::string packed = compress(body, type);
            for (const std::string& alias : aliases) {
                CHECK(compression_type(alias) == type);
                CHECK(decompress(packed, alias) == body);
                CHECK(compress(body, alias) == packed);
            }
        }
    }
    CHECK(compress("x", "zlib")[0] == '\x78');  // a zlib stream, not gzip, despite the name
    CHECK(compress("x", "lzma").substr(1, 4) == "7zXZ");
}

TEST_CASE("broken, cut and padded compressed data is refused", "[compression]") {
    for (const auto& [type, aliases] : methods) {
        INFO(type);
        const std::string body = noise(100) + std::string(1000, 'x');
        const std::string packed = compress(body, type);
        CHECK_THROWS_AS(decompress("certainly not compressed", type), DecodeError);
        for (std::size_t size = 0; size < packed.size(); ++size)
            CHECK_THROWS_AS(decompress(std::string_view{packed}.substr(0, size), type), DecodeError);
        CHECK_THROWS_AS(decompress(packed + "x", type), DecodeError);
        CHECK(decompress(packed, type) == body);  // the state of the thread is intact
    }
    CHECK_THROWS_WITH(compress("x", "zlip"), Contains("did you mean zlib?"));
    CHECK_THROWS_AS(decompress("x", "snappy"), SerializerNotInstalled);
}

TEST_CASE("a body that would grow beyond the limit is refused while it grows", "[compression]") {
    for (const auto& [type, aliases] : methods) {
        INFO(type);
        const std::string bomb = compress(std::string(max_decompressed_size + 1, '\0'), type);
        CHECK(bomb.size() < 100'000);
        CHECK_THROWS_WITH(decompress(bomb, type), Contains("would exceed 67108864 bytes"));
        CHECK(decompress(compress(std::string(100, 'x'), type), type, 100).size() == 100);
        CHECK_THROWS_AS(decompress(compress(std::string(101, 'x'), type), type, 100), DecodeError);
    }
}

TEST_CASE("a small body that demands much memory is refused", "[compression]") {
    // The beginning of a frame, or of a stream, that announces a window of 64 MiB.
    const std::string zstd{"\x28\xb5\x2f\xfd\x00\x80\x00\x07\x00", 9};
    const std::string xz{
        "\xfd"
        "7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x1c\x00\x00\x00\x10\xcf\x58\xcc",
        24};
    for (const auto& [type, body] : {std::pair{"zstd", zstd}, std::pair{"lzma", xz}}) {
        INFO(type);
        CHECK_THROWS_AS(decompress(body, type), DecodeError);
    }
    CHECK_THROWS_WITH(decompress(xz, "lzma"), Contains("demands too much memory"));
}

TEST_CASE("threads compress and decompress at the same time", "[compression]") {
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            const std::string body = noise(10'000) + std::to_string(t);
            for (int i = 0; i < 20; ++i)
                for (const auto& [type, aliases] : methods)
                    if (decompress(compress(body, type), type) != body) ++wrong[static_cast<std::size_t>(t)];
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("a registered compression is used by name and by header", "[compression]") {
    register_compression({.content_type = "application/x-reversed",
                          .names = {"reversed"},
                          .compress =
                              [](std::string_view data) {
                                  return std::string{data.rbegin(), data.rend()};
                              },
                          .decompress =
                              [](std::string_view data, std::size_t) {
                                  return std::string{data.rbegin(), data.rend()};
                              }});
    Connection connection{"memory://compression"};
    auto queue = connection.simple_queue("reversed");
    queue.put("abc", {.compression = "reversed"});
    const Message message = queue.get_nowait();
    CHECK(message.raw_body() == "cba");
    CHECK(message.payload() == "abc");
    CHECK(message.headers()["compression"] == "application/x-reversed");
    CHECK_THROWS_AS(decompress("0123456789", "reversed", 5), DecodeError);
    CHECK_THROWS_AS(register_compression({.content_type = "x/y"}), ConfigurationError);

    register_compression(
        {.content_type = "application/x-failing",
         .names = {"failing"},
         .compress = [](std::string_view) -> std::string { throw std::runtime_error("no"); },
         .decompress = [](std::string_view, std::size_t) -> std::string { throw std::runtime_error("no"); }});
    CHECK_THROWS_AS(decompress("x", "failing"), DecodeError);
    CHECK_THROWS_WITH(compress("x", "failing"), Contains("cannot be compressed as application/x-failing: no"));
}
