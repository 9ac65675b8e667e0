// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

namespace kombu::net {

/// A socket address of any family.
struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Resolves a host name. Names other than localhost are looked up on a thread of their own, since the system's resolver
/// has no deadline. Throws Timeout, and ConnectionError when there is no such host.
async::Operation<std::vector<Address>> resolve(std::string host, std::uint16_t port, Deadline deadline);

}  // namespace kombu::net
