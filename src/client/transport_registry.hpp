#pragma once

#include <kombu/transport.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace kombu::detail {

struct KnownTransport {
    /// The name without aliases.
    std::string name{};
    std::shared_ptr<const Transport> transport{};
};

/// Throws ConfigurationError that names the known transports and the nearest spelling.
KnownTransport find_transport(std::string_view name);

}  // namespace kombu::detail
