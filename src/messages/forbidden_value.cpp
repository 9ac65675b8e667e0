// SPDX-License-Identifier: BSD-3-Clause
#include "messages/forbidden_value.hpp"

#include <kombu/error.hpp>
#include <kombu/field.hpp>

#include "support/utf8.hpp"

#include <cmath>
#include <cstdint>

namespace kombu {
namespace {

/// Finds the first forbidden value. Its path is built only then.
class Search {
public:
    explicit Search(const ValueRules& rules) : rules_(rules) {}

    /// From the value that was searched to the forbidden one.
    const std::string& path() const noexcept { return path_; }

    /// The reason why the value is not allowed; null when it is.
    const char* visit(const Json& value, std::size_t depth) {
        switch (value.type()) {
            case Json::value_t::number_float:
                return rules_.allows_infinite || std::isfinite(value.get<double>()) ? nullptr : "not a finite number";
            case Json::value_t::number_unsigned:
                return rules_.allows_large_integers || value.get<std::uint64_t>() <= INT64_MAX
                           ? nullptr
                           : "the integer does not fit into 64 signed bits";
            case Json::value_t::string:
                return is_utf8(value.get_ref<const std::string&>())
                           ? nullptr
                           : "the text is not valid UTF-8; bytes are a Json::binary";
            case Json::value_t::binary:
                if (!rules_.allows_binary) return "JSON cannot represent bytes, timestamps and decimals";
                if (!value.get_binary().has_subtype()) return nullptr;
                if (!is_timestamp(value) && !is_decimal(value)) return "the binary has an unknown subtype";
                return rules_.allows_fields ? nullptr : "timestamps and decimals are for headers and arguments only";
            case Json::value_t::object: return depth < rules_.max_depth ? visit_object(value, depth) : too_deep;
            case Json::value_t::array: return depth < rules_.max_depth ? visit_array(value, depth) : too_deep;
            default: return nullptr;
        }
    }

private:
    static constexpr const char* too_deep = "nested too deep";

    const char* visit_object(const Json& object, std::size_t depth) {
        for (const auto& [key, value] : object.get_ref<const Json::object_t&>()) {
            const bool is_text = is_utf8(key);
            const char* const reason = !is_text                           ? "the key is not valid UTF-8"
                                       : key.size() > rules_.max_key_size ? "the key is longer than 255 bytes"
                                                                          : visit(value, depth + 1);
            if (!reason) continue;
            path_.insert(0, is_text ? '.' + key.substr(0, 100) : std::string{".?"});
            return reason;
        }
        return nullptr;
    }

    const char* visit_array(const Json& array, std::size_t depth) {
        for (std::size_t i = 0; i < array.size(); ++i) {
            const char* const reason = visit(array[i], depth + 1);
            if (!reason) continue;
            path_.insert(0, '[' + std::to_string(i) + ']');
            return reason;
        }
        return nullptr;
    }

    const ValueRules& rules_;
    std::string path_{};
};

}  // namespace

std::optional<std::string> find_forbidden_value(const Json& value, std::string_view root, const ValueRules& rules) {
    Search search{rules};
    const char* const reason = search.visit(value, 0);
    if (!reason) return std::nullopt;
    return std::string{root} + search.path() + ": " + reason;
}

void check_headers(const Json& headers, const ValueRules& rules) {
    if (const auto forbidden = find_forbidden_value(headers, "headers", rules)) throw EncodeError(*forbidden);
}

void check_arguments(const Json& arguments, const char* name) {
    if (!arguments.is_object()) throw ConfigurationError(std::string{name} + ": must be a JSON object");
    if (const auto forbidden = find_forbidden_value(arguments, name, amqp_rules)) throw ConfigurationError(*forbidden);
}

}  // namespace kombu
