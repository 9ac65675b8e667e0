#pragma once

#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include <memory>

namespace kombu::redis {

/// Asks a sentinel who the master is, and connects to that. The arguments live until it is done. Throws ConnectionError
/// when the sentinel does not know, ReadOnlyError when whom it names is no master (any more).
async::Operation<std::shared_ptr<TransportConnection>> connect_to_master(const Endpoint& sentinel,
                                                                         const ConnectionParameters& parameters,
                                                                         Deadline deadline);

}  // namespace kombu::redis
