// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/error.hpp>

#include "messages/python_json.hpp"

#include <string>

using namespace kombu;

namespace {

std::string written(std::string_view text) {
    std::string out;
    json_text::append_python_string(out, text);
    return out;
}

}  // namespace

TEST_CASE("texts are escaped as json.dumps of Python 3.11 does", "[json]") {
    std::string controls;
    for (char c = 0; c < ' '; ++c) controls += c;
    CHECK(written(controls) ==
          R"("\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f)"
          R"(\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f")");
    CHECK(written("\"\\/~\x7f\xc2\x80\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80") ==
          R"("\"\\/~\u007f\u0080\u00fc\u20ac\ud83d\ude00")");
    CHECK_THROWS_AS(written("\xff"), EncodeError);
}
