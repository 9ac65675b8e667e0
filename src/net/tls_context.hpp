// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/ssl.hpp>

#include <memory>
#include <string>

struct ssl_ctx_st;

namespace kombu::net {

/// The certificates and rules of a TLS client. Connections with equal options share one, since loading the certificates
/// of the system takes tens of ms (bench/RESULTS.md). A file that has changed since is loaded again. Thread-safe; a
/// forked child loads its own. Throws ConfigurationError when a file cannot be used, ConnectionError when OpenSSL
/// fails.
std::shared_ptr<ssl_ctx_st> tls_context(const SslOptions& options);

/// The text of the last error of OpenSSL on this thread.
std::string last_tls_error();

}  // namespace kombu::net
