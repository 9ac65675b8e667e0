// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include <cstdint>
#include <memory>

namespace kombu::redis {

enum class Kind : std::uint8_t { plain, encrypted, unix_socket, sentinel };

/// `redis://`, `rediss://`, `redis+socket://` and `sentinel://`.
std::shared_ptr<const Transport> make_transport(Kind kind);

/// The database number in an endpoint's virtual host; 0 if that is empty. Throws ConfigurationError if it is no number.
int database_of(const Endpoint& endpoint);

}  // namespace kombu::redis
