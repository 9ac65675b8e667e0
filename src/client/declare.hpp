// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include <string>

namespace kombu {

/// Declares an entity; a queue together with its exchange and bindings. The arguments must outlive the operation.
async::Operation<> declare(TransportChannel& channel, const Entity& entity, Deadline deadline);
/// Returns the name of the queue, which the broker may have chosen.
async::Operation<std::string> declare(TransportChannel& channel, const Queue& queue, Deadline deadline);
async::Operation<> declare(TransportChannel& channel, const Exchange& exchange, Deadline deadline);

}  // namespace kombu
