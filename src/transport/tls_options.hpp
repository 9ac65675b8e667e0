// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>
#include <kombu/ssl.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

using Query = std::vector<std::pair<std::string, std::string>>;

/// Whether a URL option is one of TLS: `ssl_ca_certs` and so on.
bool is_ssl_option(std::string_view name);

/// The TLS options of a connection; null without TLS. They come from `options` (true, false, null, or an object with
/// Kombu's names, with or without `ssl_`), from the query of the URL, or from its scheme (`implied_by_scheme`). Throws
/// ConfigurationError that names the field for unknown options, invalid values, and `options` that are false when the
/// URL asks for TLS.
std::optional<SslOptions> parse_ssl(const Json& options, const Query& query, bool implied_by_scheme);

/// The options that differ from their defaults, in the form of a URL's query.
Query ssl_query(const SslOptions& ssl);

}  // namespace kombu::detail
