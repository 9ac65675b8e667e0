#pragma once

#include <kombu/json.hpp>
#include <kombu/ssl.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

using Query = std::vector<std::pair<std::string, std::string>>;

/// The names that options of TLS have in a URL, `ssl_ca_certs` and so on.
bool is_ssl_option(std::string_view name);

/// What a connection asks for, in its options (`given`: true, false, null, or an object by Kombu's names, with or
/// without `ssl_`), in its URL's query, or by its scheme (`implied`). Throws ConfigurationError, naming the field, for
/// what is not known and for what contradicts the scheme.
std::optional<SslOptions> parse_ssl(const Json& given, const Query& query, bool implied);

/// What differs from the defaults, as it stands in a URL's query.
Query ssl_query(const SslOptions& ssl);

}  // namespace kombu::detail
