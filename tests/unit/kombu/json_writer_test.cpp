// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/error.hpp>

#include "messages/json_writer.hpp"
#include "support/pieces.hpp"

#include <cmath>
#include <limits>
#include <string>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

std::string compact(const Json& value) {
    std::string out;
    json_text::append_compact(out, value);
    return out;
}

}  // namespace

TEST_CASE("JSON bodies are written without spaces, and with no escapes but those that must be", "[json]") {
    const Json values =
        Json::parse(R"({"a":[1,-2,18446744073709551615,-9223372036854775808,true,false,null,[],{}],)"
                    R"("b":"\"\\\/\b\f\n\r\t\u0001 ü😀",)"
                    R"("long plain text without anything":"0123456789abcdef0123456789abcdef\"","\"":1,"":"\u007f"})");
    CHECK(Json::parse(compact(values)) == values);
    CHECK(compact(values) == values.dump());
    for (const double number : {12.5, -0.01, 0.1, 1e300, 5e-324, 1.0 / 3, 123456789.12, 1e15, 0.07, 100.0, -1.5, 4.35,
                                0.0, 2.675, 1e22, 9007199254740993.0}) {
        const std::string text = compact(number);
        CHECK(Json::parse(text).is_number_float());
        CHECK(Json::parse(text).get<double>() == number);
    }
    CHECK(compact(12.5) == "12.5");
    CHECK(compact(0.07) == "0.07");
    CHECK(compact(-3.0) == "-3.0");
    CHECK(std::signbit(Json::parse(compact(-0.0)).get<double>()));
    CHECK_THROWS_AS(compact(std::numeric_limits<double>::infinity()), EncodeError);
    CHECK_THROWS_AS(compact(Json::binary({1})), EncodeError);
    CHECK_THROWS_AS(compact("\xff"), EncodeError);
    CHECK_THROWS_AS(compact("0123456789\xc3"), EncodeError);
    CHECK_THROWS_AS(compact(Json{{"\xed\xa0\x80", 1}}), EncodeError);
    Json deep = 1;
    for (int i = 0; i < 257; ++i) deep = Json::array({deep});
    CHECK_THROWS_AS(compact(deep), EncodeError);
}

TEST_CASE("texts of every size are written whole, with a special character at every place", "[json]") {
    for (std::size_t size = 0; size < 40; ++size) {
        const std::string plain(size, 'x');
        CHECK(compact(plain) == '"' + plain + '"');
        for (std::size_t at = 0; at < size; ++at) {
            for (const char* special : {"\"", "\\", "\n", "\x1f", "\x7f", "\xc3\xbc"}) {
                std::string text = plain;
                text.replace(at, 1, special);
                if (compact(text) != Json(text).dump(-1, ' ', false)) FAIL_CHECK(size << ' ' << at << ' ' << special);
            }
            std::string invalid = plain;
            invalid[at] = '\xff';
            CHECK_THROWS_AS(compact(invalid), EncodeError);
        }
    }
}

TEST_CASE("values longer than the writer's buffer are written whole, after what was there", "[json]") {
    Json list = Json::array();
    for (std::size_t size = 0; size < 600; ++size) {
        list.push_back(std::string(size, 'y'));
        list.push_back(Json::array({size, -1.5, nullptr, Json::object(), "\n"}));
    }
    std::string out = "before ";
    json_text::append_compact(out, list);
    CHECK(out == "before " + list.dump());
    const std::string large(3 * piece_size, 'z');
    CHECK(compact({{"large", large}, {"next", 1}}) == R"({"large":")" + large + R"(","next":1})");
}

TEST_CASE("writing of a large value ends when its deadline has passed", "[json]") {
    const Json texts = Json::array({std::string(2 * piece_size, 'z')});
    Json numbers = Json::array();
    for (std::size_t i = 0; i < piece_size / 2; ++i) numbers.push_back(i);
    std::string out;
    CHECK_THROWS_AS(json_text::append_compact(out, texts, Deadline::after(0ms)), Timeout);
    CHECK_THROWS_AS(json_text::append_compact(out, numbers, Deadline::after(0ms)), Timeout);
}
