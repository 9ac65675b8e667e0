// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/connection.hpp>
#include <kombu/transport.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace kombu::detail {

/// The configuration of a Connection, normalised and immutable. Copies of the Connection share it.
struct ConnectionConfig {
    ConnectionParameters parameters{};
    std::shared_ptr<const Transport> transport{};
    /// Equal for connections whose sessions would be equal. Contains the passwords, so it must never be printed.
    std::string identity{};
    std::size_t hash = 0;
};

std::shared_ptr<const ConnectionConfig> parse_connection(std::string_view url, const ConnectionOptions& options);

/// `first`: the index of the endpoint that comes first.
std::string to_uri(const ConnectionConfig& config, ShowPassword show, std::size_t first = 0);

}  // namespace kombu::detail
