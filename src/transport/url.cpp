// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/url.hpp>

#include <boost/url.hpp>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <ostream>

namespace kombu {
namespace {

namespace urls = boost::urls;

[[noreturn]] void throw_malformed(const std::string& reason) {
    throw ConfigurationError(
        "malformed URL: " + reason +
        " (special characters in a part must be percent-encoded: ';' is %3B, '@' %40, '/' %2F, ':' "
        "%3A, '#' %23)");
}

/// A NUL would end or split names later: PLAIN authentication separates its fields with it. No broker allows one.
std::string reject_nul(std::string text, const char* field) {
    if (text.find('\0') != std::string::npos) throw_malformed(std::string{field} + " contains a NUL character");
    return text;
}

std::optional<std::string> non_empty(std::string text) {
    if (text.empty()) return std::nullopt;
    return text;
}

/// The offset of "://" behind a valid scheme (`redis+socket` is one), else npos.
std::size_t scheme_end(std::string_view url) {
    const std::size_t end = url.find("://");
    if (end == std::string_view::npos || end == 0) return std::string_view::npos;
    const auto valid = [](unsigned char c) { return std::isalnum(c) || c == '+' || c == '-' || c == '.'; };
    return std::all_of(url.begin(), url.begin() + static_cast<std::ptrdiff_t>(end), valid) ? end
                                                                                           : std::string_view::npos;
}

/// Boost.URL 1.81 lets a long port number overflow, so its digits are parsed here. The error does not quote them: they
/// may be part of a password.
std::uint16_t parse_port(std::string_view digits) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size() || port == 0)
        throw_malformed("the port is not a number from 1 to 65535");
    return port;
}

}  // namespace

std::string Password::identity() const {
    if (!source_) return "t" + text_;
    return "f" + std::to_string(reinterpret_cast<std::uintptr_t>(source_.get()));
}

std::ostream& operator<<(std::ostream& out, const Password&) { return out << "**"; }

Url parse_url(std::string_view url) {
    const std::size_t end = scheme_end(url);
    if (end == std::string_view::npos) throw_malformed("it does not begin with transport://");

    const urls::result<urls::url_view> parsed = urls::parse_uri_reference(url);
    if (!parsed) throw_malformed("it contains a character or an escape that is not allowed in that part");
    const urls::url_view& view = *parsed;
    if (view.has_fragment()) throw_malformed("it contains a '#'");

    Url result;
    result.transport = std::string{url.substr(0, end)};
    std::transform(result.transport.begin(), result.transport.end(), result.transport.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    result.userid = non_empty(reject_nul(view.user(), "the userid"));
    if (auto password = non_empty(reject_nul(view.password(), "the password"))) result.password = std::move(*password);

    std::string host = reject_nul(view.host_address(), "the host name");
    if (std::any_of(host.begin(), host.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f || c == '/'; }))
        throw_malformed("the host name contains an invalid character");
    std::transform(host.begin(), host.end(), host.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    result.hostname = non_empty(std::move(host));
    const std::string_view port{view.port().data(), view.port().size()};
    if (!port.empty()) result.port = parse_port(port);

    const std::string_view raw_path{view.encoded_path().data(), view.encoded_path().size()};
    const std::string_view raw_query{view.encoded_query().data(), view.encoded_query().size()};
    // Boost.URL 1.81 parses letters in place of the port as a path.
    if (!raw_path.empty() && raw_path.front() != '/') throw_malformed("the port is not a number from 1 to 65535");
    if (raw_path.find('@') != std::string_view::npos || raw_query.find('@') != std::string_view::npos)
        throw_malformed("it contains an '@' after the host");
    std::string path = reject_nul(view.path(), "the virtual host");
    if (!path.empty() && path.front() == '/') path.erase(0, 1);
    result.virtual_host = non_empty(std::move(path));

    for (const auto& param : view.params()) {
        std::string key = reject_nul(param.key, "a query key");
        if (!key.empty()) result.query.emplace_back(std::move(key), reject_nul(param.value, "a query value"));
    }
    return result;
}

std::string sanitize_url(std::string_view url) {
    const std::size_t end = scheme_end(url);
    if (end == std::string_view::npos) return std::string{url};
    const std::string prefix{url.substr(0, end + 3)};
    if (const std::size_t next = url.find(';'); next != std::string_view::npos) {
        // A ';' separates endpoints only before a URL, or when no '@' follows; otherwise it may be within a password.
        const std::string_view rest = url.substr(next + 1), second = rest.substr(0, rest.find(';'));
        if (scheme_end(second) == std::string_view::npos && rest.find('@') != std::string_view::npos)
            return prefix + "**";
        return sanitize_url(url.substr(0, next)) + ';' + sanitize_url(rest);
    }
    try {
        if (!parse_url(url).password) return std::string{url};
    } catch (const ConfigurationError&) {
        return prefix + "**";
    }
    const std::size_t colon = url.find(':', end + 3), at = url.find('@', end + 3);
    return std::string{url.substr(0, colon + 1)} + "**" + std::string{url.substr(at)};
}

}  // namespace kombu
