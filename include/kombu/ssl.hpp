// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <cstdint>
#include <string>

namespace kombu {

/// TLS settings of a connection, by Kombu's names. By default the broker must have a certificate for the host name of
/// the connection that an authority trusted by the system has issued. TLS 1.2 is the oldest version.
///
/// The files are read again for a new connection once they have changed. Connections without a client certificate
/// resume the TLS sessions of earlier ones to the same address, where the broker allows it.
struct SslOptions {
    /// Whether the certificate of the broker is verified.
    enum class CertReqs : std::uint8_t { required, none };
    /// `none` accepts any certificate: the broker is not authenticated.
    CertReqs cert_reqs = CertReqs::required;
    /// Whether the certificate must be for the host name. Has no effect with `CertReqs::none`.
    bool check_hostname = true;
    /// PEM file of trusted authorities. Empty, and `ca_path` too: those of the system.
    std::string ca_certs{};
    /// Directory of trusted authorities, as `openssl rehash` makes it. Used beside `ca_certs`.
    std::string ca_path{};
    /// PEM file of the client certificate. Empty: none.
    std::string certfile{};
    /// PEM file of the private key. Empty: `certfile` contains it.
    std::string keyfile{};

    friend bool operator==(const SslOptions&, const SslOptions&) = default;
};

}  // namespace kombu
