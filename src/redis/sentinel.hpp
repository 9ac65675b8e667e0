// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include <memory>

namespace kombu::redis {

/// Asks a sentinel for the address of the master, and connects to it. The arguments must outlive the operation. Throws
/// ConnectionError if the sentinel reports no usable master, ReadOnlyError if the server there is not a master (any
/// more).
async::Operation<std::shared_ptr<TransportConnection>> connect_to_master(const Endpoint& sentinel,
                                                                         const ConnectionParameters& parameters,
                                                                         Deadline deadline);

}  // namespace kombu::redis
