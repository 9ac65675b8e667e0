// SPDX-License-Identifier: BSD-3-Clause
#include "messages/yaml.hpp"

#ifdef KOMBU_WITH_YAML

#include <kombu/error.hpp>

#include "messages/forbidden_value.hpp"
#include "messages/json_depth.hpp"
#include "support/base64.hpp"
#include "support/utf8.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

namespace kombu::yaml {
namespace {

constexpr ValueRules rules{.allows_fields = false, .allows_infinite = true};

/// PyYAML takes a number for text unless it has a point, and a sign in its exponent.
std::string real_text(double number) {
    if (std::isnan(number)) return ".nan";
    if (std::isinf(number)) return number < 0 ? "-.inf" : ".inf";
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    std::string text{digits, end};
    if (text.find('.') == std::string::npos) text.insert(std::min(text.find('e'), text.size()), ".0");
    return text;
}

void emit(YAML::Emitter& out, const Json& value) {
    switch (value.type()) {
        case Json::value_t::object:
            out << YAML::BeginMap;
            for (const auto& [key, member] : value.get_ref<const Json::object_t&>()) {
                out << YAML::Key << YAML::DoubleQuoted << key << YAML::Value;
                emit(out, member);
            }
            out << YAML::EndMap;
            return;
        case Json::value_t::array:
            out << YAML::BeginSeq;
            for (const Json& element : value) emit(out, element);
            out << YAML::EndSeq;
            return;
        case Json::value_t::string: out << YAML::DoubleQuoted << value.get_ref<const std::string&>(); return;
        case Json::value_t::boolean: out << value.get<bool>(); return;
        case Json::value_t::number_integer: out << value.get<std::int64_t>(); return;
        case Json::value_t::number_unsigned: out << value.get<std::uint64_t>(); return;
        case Json::value_t::number_float: out << real_text(value.get<double>()); return;
        case Json::value_t::binary: {
            const auto& bytes = value.get_binary();
            out << YAML::Binary{bytes.data(), bytes.size()};
            return;
        }
        default: out << YAML::Null;
    }
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), text) != words.end();
}

template <class Number>
std::optional<Number> parse_number(std::string_view text, int base) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

/// The integers of YAML 1.1, except those to base 60. Others are text.
std::optional<Json> parse_integer(std::string_view text) {
    std::string digits{text};
    std::erase(digits, '_');
    std::string_view rest = digits;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    int base = 10;
    if (rest.starts_with("0x")) base = 16;
    if (rest.starts_with("0b")) base = 2;
    if (base != 10)
        rest.remove_prefix(2);
    else if (rest.size() > 1 && rest.starts_with('0'))
        base = 8;
    if (rest.empty() || rest.front() == '-' || rest.front() == '+') return std::nullopt;
    const auto magnitude = parse_number<std::uint64_t>(rest, base);
    if (!magnitude) return std::nullopt;
    if (!negative) return *magnitude <= INT64_MAX ? Json(static_cast<std::int64_t>(*magnitude)) : Json(*magnitude);
    if (*magnitude > std::uint64_t{1} << 63) return std::nullopt;
    return Json(static_cast<std::int64_t>(0 - *magnitude));
}

std::optional<Json> parse_real(std::string_view text) {
    std::string_view rest = text;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    const double sign = negative ? -1 : 1;
    if (is_one_of(rest, {".inf", ".Inf", ".INF"})) return Json(sign * std::numeric_limits<double>::infinity());
    if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return Json(std::numeric_limits<double>::quiet_NaN());
    if (rest.find('.') == std::string_view::npos || rest.empty()) return std::nullopt;
    if (rest.front() != '.' && (rest.front() < '0' || rest.front() > '9')) return std::nullopt;  // "inf", "nan"
    std::string digits{rest};
    std::erase(digits, '_');
    double number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return Json(sign * number);
}

/// A scalar without quotes and tag, as PyYAML resolves it.
Json plain_scalar(const std::string& text) {
    if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
    if (is_one_of(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})) return true;
    if (is_one_of(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})) return false;
    if (auto number = parse_integer(text)) return *number;
    if (auto number = parse_real(text)) return *number;
    return text;
}

Json decode_binary(const std::string& text) {
    const auto bytes = base64::decode(text);
    if (!bytes) throw DecodeError("the body has a !!binary that is not base64");
    return Json::binary({bytes->begin(), bytes->end()});
}

class Reader {
public:
    explicit Reader(std::size_t max_nodes) : nodes_left_(max_nodes) {}

    Json read(const YAML::Node& node, std::size_t depth) {
        if (depth > json_text::max_depth) throw DecodeError("the body nests more than 256 levels deep");
        if (nodes_left_-- == 0) throw DecodeError("the aliases of the body expand to too many values");
        const std::string tag = short_tag(node);
        switch (node.Type()) {
            case YAML::NodeType::Map: {
                check_tag(tag, {"", "map"});
                Json object = Json::object();
                for (const auto& member : node) {
                    if (!member.first.IsScalar()) throw DecodeError("the body has a key that is not text");
                    object[checked(member.first.Scalar())] = read(member.second, depth + 1);
                }
                return object;
            }
            case YAML::NodeType::Sequence: {
                check_tag(tag, {"", "seq"});
                Json array = Json::array();
                for (const auto& element : node) array.push_back(read(element, depth + 1));
                return array;
            }
            case YAML::NodeType::Scalar: return read_scalar(node, tag);
            default: return nullptr;
        }
    }

private:
    static const std::string& checked(const std::string& text) {
        if (!is_utf8(text)) throw DecodeError("the body has text that is not valid UTF-8");
        return text;
    }

    static std::string short_tag(const YAML::Node& node) {
        constexpr std::string_view standard = "tag:yaml.org,2002:";
        const std::string& tag = node.Tag();
        if (tag == "?") return {};
        return tag.starts_with(standard) ? tag.substr(standard.size()) : tag;
    }
    /// As PyYAML's safe loader: a tag that asks for an object of the program is refused.
    static void check_tag(const std::string& tag, std::initializer_list<std::string_view> known) {
        if (!is_one_of(tag, known)) throw DecodeError("the body has an unknown tag");
    }

    static Json read_scalar(const YAML::Node& node, const std::string& tag) {
        const std::string& text = checked(node.Scalar());
        if (tag == "binary") return decode_binary(text);
        if (tag == "!" || tag == "str" || tag == "timestamp") return text;
        check_tag(tag, {"", "int", "float", "bool", "null"});
        return plain_scalar(text);
    }

    std::size_t nodes_left_;
};

}  // namespace

std::string encode(const Json& body) {
    if (const auto problem = find_forbidden_value(body, "body", rules)) throw EncodeError(*problem);
    YAML::Emitter out;
    emit(out, body);
    return {out.c_str(), out.size()};
}

Json decode(std::string_view data) try {
    return Reader{data.size() + 1}.read(YAML::Load(std::string{data}), 0);
} catch (const YAML::Exception& error) {
    throw DecodeError("the body is not valid YAML (line " + std::to_string(error.mark.line + 1) + ")");
}

}  // namespace kombu::yaml

#endif
