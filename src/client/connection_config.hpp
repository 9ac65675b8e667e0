#pragma once

#include <kombu/connection.hpp>
#include <kombu/transport.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace kombu::detail {

/// What a Connection describes, normalised and immutable; shared by its copies.
struct Description {
    ConnectionParameters parameters{};
    std::shared_ptr<const Transport> transport{};
    /// Equal for connections whose sessions would be equal. Holds the passwords: never printed.
    std::string identity{};
    std::size_t hash = 0;
};

std::shared_ptr<const Description> describe(std::string_view url, const ConnectionOptions& options);

std::string to_uri(const Description& description, ShowPassword show);

}  // namespace kombu::detail
