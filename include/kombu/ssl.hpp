// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <cstdint>
#include <string>

namespace kombu {

/// How a connection is encrypted and whom it trusts, by Kombu's names. By default the broker must show a certificate
/// that the system's authorities vouch for and that is for the host that was asked for.
struct SslOptions {
    enum class CertReqs : std::uint8_t { required, none };
    /// `none` trusts whoever answers.
    CertReqs cert_reqs = CertReqs::required;
    /// Whether the certificate must name the host. Means nothing without a certificate that is required.
    bool check_hostname = true;
    /// Files in PEM. An empty `ca_certs` stands for the system's authorities, an empty `keyfile` for `certfile`.
    std::string ca_certs{};
    std::string certfile{};
    std::string keyfile{};

    friend bool operator==(const SslOptions&, const SslOptions&) = default;
};

}  // namespace kombu
