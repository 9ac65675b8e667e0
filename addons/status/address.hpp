// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kombu::status {

struct Address {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;
};

/// Throws ConfigurationError for what is not HOST:PORT or a port.
Address parse_address(std::string_view text);
/// Whether only this machine reaches the host.
bool is_loopback(const std::string& host);
/// The host of a Host header, without its port.
std::string host_of(const std::string& header);

}  // namespace kombu::status
