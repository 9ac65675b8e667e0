// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kombu {

/// A password: text, or a function that is asked at each connect (for credentials that rotate). Printing one gives
/// `**`.
class KOMBU_EXPORT Password {
public:
    using Source = std::function<std::string()>;

    Password() = default;
    Password(std::string text) : text_(std::move(text)) {}
    Password(const char* text) : text_(text) {}
    template <std::invocable Function>
    Password(Function source) : source_(std::make_shared<const Source>(std::move(source))) {}

    /// The password itself. Calls the function when there is one, and throws what it throws.
    std::string reveal() const { return source_ ? (*source_)() : text_; }
    /// Whether it may be another one when it is asked for again.
    bool is_function() const noexcept { return source_ != nullptr; }
    bool empty() const noexcept { return !source_ && text_.empty(); }

    /// Tells passwords apart without revealing them: functions are equal when they are copies of one another.
    friend bool operator==(const Password& a, const Password& b) noexcept {
        return a.source_ == b.source_ && a.text_ == b.text_;
    }
    friend KOMBU_EXPORT std::ostream& operator<<(std::ostream& out, const Password& password);

    /// Equal for equal passwords; holds the text, so it must never be printed.
    std::string identity() const;

private:
    std::string text_{};
    std::shared_ptr<const Source> source_{};
};

/// The parts of a broker URL, percent-decoded; what is missing or empty is not set. Kombu's `parse_url`.
struct Url {
    std::string transport{};
    std::optional<std::string> hostname{};
    std::optional<std::uint16_t> port{};
    std::optional<std::string> userid{};
    std::optional<Password> password{};
    std::optional<std::string> virtual_host{};
    std::vector<std::pair<std::string, std::string>> query{};
};

/// Takes one URL apart: `transport://[userid[:password]@][host][:port][/virtual_host][?key=value&...]`. Exactly one
/// leading slash of the path is dropped, so `//` and `/%2F` both mean the virtual host `/`.
///
/// Throws ConfigurationError that says what is wrong and never quotes the URL, since any part of a malformed URL may be
/// a password whose special characters were not percent-encoded.
KOMBU_EXPORT Url parse_url(std::string_view url);

/// The URL with its password replaced by `**`; text that is not a URL comes back unchanged (Kombu's
/// `maybe_sanitize_url`). Of a list with `;`, each. A malformed URL becomes `transport://**`.
KOMBU_EXPORT std::string sanitize_url(std::string_view url);

}  // namespace kombu
