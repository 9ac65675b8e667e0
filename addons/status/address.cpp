// SPDX-License-Identifier: BSD-3-Clause
#include "address.hpp"

#include <kombu/error.hpp>

#include <arpa/inet.h>

#include <charconv>
#include <system_error>

namespace kombu::status {

Address parse_address(std::string_view text) {
    const auto refuse = [&]() -> ConfigurationError {
        return ConfigurationError("status: '" + std::string{text} + "' is not HOST:PORT");
    };
    Address address;
    const std::size_t colon = text.rfind(':');
    if (colon != std::string_view::npos) {
        std::string_view host = text.substr(0, colon);
        if (host.starts_with('[') && host.ends_with(']'))
            host = host.substr(1, host.size() - 2);
        else if (host.find(':') != std::string_view::npos)
            throw refuse();
        if (host.empty()) throw refuse();
        address.host = host;
    }
    const std::string_view port = colon == std::string_view::npos ? text : text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (error != std::errc{} || end != port.data() + port.size()) throw refuse();
    return address;
}

bool is_loopback(const std::string& host) {
    in_addr ip4{};
    in6_addr ip6{};
    if (::inet_pton(AF_INET, host.c_str(), &ip4) == 1) return (ntohl(ip4.s_addr) >> 24) == 127;
    if (::inet_pton(AF_INET6, host.c_str(), &ip6) == 1) return IN6_IS_ADDR_LOOPBACK(&ip6);
    return host == "localhost";
}

std::string host_of(const std::string& header) {
    if (header.starts_with('[')) return header.substr(1, header.find(']') - 1);
    return header.substr(0, header.rfind(':'));
}

}  // namespace kombu::status
