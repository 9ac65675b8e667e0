// SPDX-License-Identifier: BSD-3-Clause
#include "messages/msgpack.hpp"

#include <kombu/error.hpp>

#include "messages/forbidden_value.hpp"
#include "messages/json_depth.hpp"
#include "support/utf8.hpp"

namespace kombu::msgpack {
namespace {

/// Looks at the values without building them. The parser recurses; it stops when a function returns false.
class Check final : public nlohmann::json_sax<Json> {
public:
    std::string problem{};

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(std::int64_t) override { return true; }
    bool number_unsigned(std::uint64_t) override { return true; }
    bool number_float(double, const std::string&) override { return true; }
    bool string(std::string& text) override { return check_text(text); }
    bool binary(Json::binary_t&) override { return true; }
    bool start_object(std::size_t) override { return enter(); }
    bool key(std::string& text) override { return check_text(text); }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t) override { return enter(); }
    bool end_array() override { return leave(); }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
        problem = "the body is not valid MessagePack (at byte " + std::to_string(position) + ")";
        return false;
    }

private:
    bool check_text(const std::string& text) {
        if (is_utf8(text)) return true;
        problem = "the body has text that is not valid UTF-8";
        return false;
    }
    bool enter() {
        if (++depth_ <= json_text::max_depth) return true;
        problem = "the body nests more than 256 levels deep";
        return false;
    }
    bool leave() {
        --depth_;
        return true;
    }

    std::size_t depth_ = 0;
};

constexpr ValueRules rules{.allows_fields = false, .allows_infinite = true};

}  // namespace

std::string encode(const Json& body) {
    if (const auto problem = find_forbidden_value(body, "body", rules)) throw EncodeError(*problem);
    std::string data;
    Json::to_msgpack(body, data);
    return data;
}

Json decode(std::string_view data) {
    Check check;
    if (!Json::sax_parse(data.begin(), data.end(), &check, Json::input_format_t::msgpack))
        throw DecodeError(check.problem);
    return Json::from_msgpack(data.begin(), data.end());
}

}  // namespace kombu::msgpack
