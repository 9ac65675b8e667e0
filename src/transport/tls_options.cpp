// SPDX-License-Identifier: BSD-3-Clause
#include "transport/tls_options.hpp"

#include <kombu/error.hpp>

#include "support/suggestion.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace kombu::detail {
namespace {

constexpr std::string_view prefix = "ssl_";
constexpr std::array<std::string_view, 6> option_names{"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs",
                                                       "ssl_ca_path",   "ssl_certfile",       "ssl_keyfile"};

SslOptions::CertReqs parse_cert_reqs(std::string_view text) {
    if (text == "required" || text == "CERT_REQUIRED") return SslOptions::CertReqs::required;
    if (text == "none" || text == "CERT_NONE") return SslOptions::CertReqs::none;
    // A server always sends a certificate, so that "optional" verifies it exactly as "required" does.
    if (text == "optional" || text == "CERT_OPTIONAL") return SslOptions::CertReqs::required;
    throw ConfigurationError("ssl_cert_reqs: required or none, not " + std::string{text.substr(0, 100)});
}

bool parse_bool(std::string_view text) {
    std::string lower{text.substr(0, 100)};
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    if (lower == "true" || lower == "1") return true;
    if (lower == "false" || lower == "0") return false;
    throw ConfigurationError("ssl_check_hostname: true or false, not " + lower);
}

void set_option(SslOptions& ssl, const std::string& name, const Json& value) {
    const auto text = [&] {
        if (!value.is_string()) throw ConfigurationError(name + ": must be text");
        return value.get<std::string>();
    };
    if (name == "ssl_cert_reqs") {
        ssl.cert_reqs = value.is_null() ? SslOptions::CertReqs::none : parse_cert_reqs(text());
    } else if (name == "ssl_check_hostname") {
        ssl.check_hostname = value.is_boolean() ? value.get<bool>() : parse_bool(text());
    } else if (name == "ssl_ca_certs") {
        ssl.ca_certs = text();
    } else if (name == "ssl_ca_path") {
        ssl.ca_path = text();
    } else if (name == "ssl_certfile") {
        ssl.certfile = text();
    } else if (name == "ssl_keyfile") {
        ssl.keyfile = text();
    } else {
        throw ConfigurationError("ssl: unknown option: " + name.substr(0, 100) + " (" +
                                 suggest(name, {option_names.begin(), option_names.end()}) + ")");
    }
}

}  // namespace

bool is_ssl_option(std::string_view name) { return name.starts_with(prefix); }

std::optional<SslOptions> parse_ssl(const Json& options, const Query& query, bool implied_by_scheme) {
    if (!options.is_null() && !options.is_boolean() && !options.is_object())
        throw ConfigurationError("ssl: must be true, false or a JSON object");
    const bool requested = options.is_boolean() ? options.get<bool>() : options.is_object() && !options.empty();
    const bool in_query =
        std::any_of(query.begin(), query.end(), [](const auto& option) { return is_ssl_option(option.first); });
    if (options.is_boolean() && !requested && (implied_by_scheme || in_query))
        throw ConfigurationError("ssl: false, but the URL asks for TLS");
    if (!requested && !implied_by_scheme && !in_query) return std::nullopt;
    SslOptions ssl;
    for (const auto& [name, value] : query)
        if (is_ssl_option(name)) set_option(ssl, name, value);
    if (options.is_object())
        for (const auto& [name, value] : options.items())
            set_option(ssl, name.starts_with(prefix) ? name : std::string{prefix} + name, value);
    if (!ssl.keyfile.empty() && ssl.certfile.empty()) throw ConfigurationError("ssl_keyfile: requires ssl_certfile");
    return ssl;
}

Query ssl_query(const SslOptions& ssl) {
    Query query;
    if (ssl.cert_reqs == SslOptions::CertReqs::none) query.emplace_back("ssl_cert_reqs", "none");
    if (!ssl.check_hostname) query.emplace_back("ssl_check_hostname", "false");
    if (!ssl.ca_certs.empty()) query.emplace_back("ssl_ca_certs", ssl.ca_certs);
    if (!ssl.ca_path.empty()) query.emplace_back("ssl_ca_path", ssl.ca_path);
    if (!ssl.certfile.empty()) query.emplace_back("ssl_certfile", ssl.certfile);
    if (!ssl.keyfile.empty()) query.emplace_back("ssl_keyfile", ssl.keyfile);
    return query;
}

}  // namespace kombu::detail
