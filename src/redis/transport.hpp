#pragma once

#include <kombu/transport.hpp>

#include <cstdint>
#include <memory>

namespace kombu::redis {

enum class Kind : std::uint8_t { plain, encrypted, unix_socket, sentinel };

/// `redis://`, `rediss://`, `redis+socket://` and `sentinel://`.
std::shared_ptr<const Transport> make_transport(Kind kind);

/// The number of the database that a virtual host names. Throws ConfigurationError for one that names none.
int database_of(const Endpoint& endpoint);

}  // namespace kombu::redis
