// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace kombu::detail {

struct RegisteredTransport {
    /// The registered name; aliases are resolved.
    std::string name{};
    std::shared_ptr<const Transport> transport{};
};

/// Throws ConfigurationError that lists the known transports and suggests the closest name.
RegisteredTransport find_transport(std::string_view name);

}  // namespace kombu::detail
