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

/// A password: text, or a function that is called at each connect, for credentials that rotate. Printing one gives
/// `**`.
///
/// \par Thread safety
/// As for any value. Copies share the function, which may be called on several threads at once.
class KOMBU_EXPORT Password {
public:
    /// Returns the password whenever a connection is made.
    using Source = std::function<std::string()>;

    Password() = default;
    /// The password itself.
    Password(std::string text) : text_(std::move(text)) {}
    /// The password itself.
    Password(const char* text) : text_(text) {}
    /// A function that returns it, for passwords that change.
    template <std::invocable Function>
    Password(Function source) : source_(std::make_shared<const Source>(std::move(source))) {}

    /// The password itself. Calls the function when there is one. Throws what the function throws.
    std::string reveal() const { return source_ ? (*source_)() : text_; }
    /// Whether it is a function, whose result may differ each time.
    bool is_function() const noexcept { return source_ != nullptr; }
    /// Whether there is none.
    bool empty() const noexcept { return !source_ && text_.empty(); }

    /// Compares passwords without calling functions: functions are equal when one is a copy of the other.
    friend bool operator==(const Password& a, const Password& b) noexcept {
        return a.source_ == b.source_ && a.text_ == b.text_;
    }
    /// Prints `**`, or nothing when there is none.
    friend KOMBU_EXPORT std::ostream& operator<<(std::ostream& out, const Password& password);

    /// A text that is equal for equal passwords. It contains the password and must never be printed.
    std::string identity() const;

private:
    std::string text_{};
    std::shared_ptr<const Source> source_{};
};

/// The address of a broker and the credentials for it.
struct Endpoint {
    /// The name or the address of the host.
    std::string hostname{};
    /// 0: that of the transport.
    std::uint16_t port = 0;
    /// The user.
    std::string userid{};
    /// The password, which nothing prints.
    Password password{};
    /// The virtual host; on Redis the number of the database.
    std::string virtual_host{};
};

/// The parts of a broker URL, percent-decoded. A part that is missing or empty is not set.
/// \par Kombu
/// `kombu.utils.url.parse_url`
struct Url {
    /// The scheme.
    std::string transport{};
    /// The host, when the URL has one.
    std::optional<std::string> hostname{};
    /// The port, when the URL has one.
    std::optional<std::uint16_t> port{};
    /// The user, when the URL has one.
    std::optional<std::string> userid{};
    /// The password, when the URL has one.
    std::optional<Password> password{};
    /// What follows the host, when the URL has it.
    std::optional<std::string> virtual_host{};
    /// The parameters, in their order.
    std::vector<std::pair<std::string, std::string>> query{};
};

/// Parses one URL: `transport://[userid[:password]@][host][:port][/virtual_host][?key=value&...]`. One leading slash
/// of the path is dropped, so that `//` and `/%2F` both mean the virtual host `/`.
/// \throws ConfigurationError  when the URL is malformed. The text says why and never quotes the URL, since any part
///   of a malformed URL may be a password whose special characters were not percent-encoded.
KOMBU_EXPORT Url parse_url(std::string_view url);

/// The URL with its password replaced by `**`, for each URL of a list separated by `;`. A malformed URL becomes
/// `transport://**`; text that is not a URL is returned unchanged.
/// \par Kombu
/// `kombu.utils.url.maybe_sanitize_url`
KOMBU_EXPORT std::string sanitize_url(std::string_view url);

}  // namespace kombu
