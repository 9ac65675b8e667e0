// SPDX-License-Identifier: BSD-3-Clause
#include "messages/json_scanner.hpp"

#include <kombu/json.hpp>

#include "messages/json_depth.hpp"
#include "messages/json_tokens.hpp"
#include "support/utf8.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdint>

namespace kombu::json_text {
namespace {

constexpr bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::size_t skip_space(std::string_view text, std::size_t at) {
    while (at < text.size() && is_space(text[at])) ++at;
    return at;
}

/// Follows the grammar of RFC 8259. Each member function reads one thing at the current place, and returns false when
/// it is not there.
class Checker {
public:
    explicit Checker(std::string_view text) noexcept : at_(text.data()), end_(text.data() + text.size()) {}

    bool document() noexcept {
        if (!value()) return false;
        space();
        return at_ == end_;
    }

private:
    void space() noexcept {
        while (at_ != end_ && is_space(*at_)) ++at_;
    }
    bool take(char c) noexcept {
        if (at_ == end_ || *at_ != c) return false;
        ++at_;
        return true;
    }
    bool literal(std::string_view word) noexcept {
        if (!std::string_view{at_, static_cast<std::size_t>(end_ - at_)}.starts_with(word)) return false;
        at_ += word.size();
        return true;
    }
    bool digits() noexcept {
        const char* const begin = at_;
        while (at_ != end_ && is_digit(*at_)) ++at_;
        return at_ != begin;
    }
    bool number() noexcept {
        (void)take('-');
        if (!take('0') && !digits()) return false;
        if (take('.') && !digits()) return false;
        if (at_ == end_ || (*at_ | 0x20) != 'e') return true;
        ++at_;
        if (!take('+')) (void)take('-');
        return digits();
    }
    bool escape() noexcept {
        if (at_ == end_) return false;
        const char c = *at_++;
        if (c != 'u') return std::string_view{"\"\\/bfnrt"}.find(c) != std::string_view::npos;
        for (int i = 0; i < 4; ++i, ++at_)
            if (at_ == end_ || !(is_digit(*at_) || ((*at_ | 0x20) >= 'a' && (*at_ | 0x20) <= 'f'))) return false;
        return true;
    }
    bool string() noexcept {
        if (!take('"')) return false;
        for (;;) {
            // It stops at characters that are not ASCII too; the loop passes those.
            at_ += plain_prefix({at_, static_cast<std::size_t>(end_ - at_)});
            while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) ++at_;
            if (take('"')) return true;
            if (!take('\\') || !escape()) return false;
        }
    }
    template <class Item>
    bool items(char close, Item item) noexcept {
        ++at_;
        if (++depth_ > max_depth) return false;
        space();
        if (!take(close)) {
            do {
                if (!item()) return false;
                space();
            } while (take(','));
            if (!take(close)) return false;
        }
        --depth_;
        return true;
    }
    bool value() noexcept {
        space();
        if (at_ == end_) return false;
        switch (*at_) {
            case '"': return string();
            case '[': return items(']', [this] { return value(); });
            case '{':
                return items('}', [this] {
                    space();
                    if (!string()) return false;
                    space();
                    return take(':') && value();
                });
            case 't': return literal("true");
            case 'f': return literal("false");
            case 'n': return literal("null");
            default: return number();
        }
    }

    const char* at_;
    const char* end_;
    std::size_t depth_ = 0;
};

std::size_t skip_string(std::string_view text, std::size_t at) {
    for (++at;; ++at) {
        at = std::min(text.find('"', at), text.size());
        std::size_t backslashes = 0;
        while (text[at - backslashes - 1] == '\\') ++backslashes;  // stops at the opening quote
        if (at == text.size() || backslashes % 2 == 0) return at + 1;
    }
}

enum class Kind : std::uint8_t { other, quote, open, close };

constexpr auto kinds = [] {
    std::array<Kind, 256> table{};
    table['"'] = Kind::quote;
    table['{'] = table['['] = Kind::open;
    table['}'] = table[']'] = Kind::close;
    return table;
}();

std::size_t skip_scalar(std::string_view text, std::size_t at) {
    while (at < text.size() && text[at] != ',' && text[at] != ']' && text[at] != '}' && !is_space(text[at])) ++at;
    return at;
}

std::size_t skip_value(std::string_view text, std::size_t at) {
    for (std::size_t depth = 0; at < text.size(); ++at) {
        switch (kinds[static_cast<unsigned char>(text[at])]) {
            case Kind::other:
                if (depth == 0) return skip_scalar(text, at);
                continue;
            case Kind::open: ++depth; continue;
            case Kind::close:
                if (depth == 0) return at;
                --depth;
                break;
            case Kind::quote: at = skip_string(text, at) - 1; break;
        }
        if (depth == 0) return at + 1;
    }
    return at;
}

/// The offset of the first item of an object or array; npos for another value.
std::size_t first_item(std::string_view text, std::size_t at, char open) {
    at = skip_space(text, at);
    return at < text.size() && text[at] == open ? skip_space(text, at + 1) : std::string_view::npos;
}

std::size_t next_item(std::string_view text, std::size_t end_of_value) {
    const std::size_t at = skip_space(text, end_of_value);
    return at < text.size() && text[at] == ',' ? skip_space(text, at + 1) : at;
}

}  // namespace

bool is_well_formed(std::string_view text) noexcept { return Checker{text}.document() && is_utf8(text); }

MemberReader::MemberReader(std::string_view text, std::size_t object)
    : text_(text), at_(first_item(text, object, '{')) {}

bool MemberReader::next() {
    if (at_ >= text_.size() || text_[at_] != '"') return false;
    const std::size_t name_end = skip_string(text_, at_);
    name_ = text_.substr(at_ + 1, name_end - at_ - 2);
    if (name_.find('\\') != std::string_view::npos) {
        unescaped_ = to_text(text_.substr(at_, name_end - at_)).value_or("");
        name_ = unescaped_;
    }
    value_.begin = skip_space(text_, skip_space(text_, name_end) + 1);  // after the colon
    value_.end = skip_value(text_, value_.begin);
    at_ = next_item(text_, value_.end);
    return true;
}

std::optional<Span> member(std::string_view text, std::size_t object, std::string_view name) {
    std::optional<Span> found;
    for (MemberReader reader{text, object}; reader.next();)
        if (reader.name() == name) found = reader.value();
    return found;
}

std::optional<Span> element(std::string_view text, std::size_t array, std::size_t n) {
    std::size_t at = first_item(text, array, '[');
    for (; at < text.size() && text[at] != ']'; --n) {
        const std::size_t end = skip_value(text, at);
        if (n == 0) return Span{at, end};
        at = next_item(text, end);
    }
    return std::nullopt;
}

std::optional<std::string> to_text(std::string_view value) {
    if (value.empty() || value.front() != '"') return std::nullopt;
    if (value.find('\\') == std::string_view::npos) return std::string{value.substr(1, value.size() - 2)};
    const Json parsed = Json::parse(value, nullptr, false);
    return parsed.is_string() ? std::optional{parsed.get<std::string>()} : std::nullopt;
}

}  // namespace kombu::json_text
