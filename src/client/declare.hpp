// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

namespace kombu {

/// Declares an entity; a queue together with its exchange and bindings. The arguments must outlive the operation.
async::Operation<> declare(TransportChannel& channel, const Entity& entity, Deadline deadline);
async::Operation<> declare(TransportChannel& channel, const Queue& queue, Deadline deadline);
async::Operation<> declare(TransportChannel& channel, const Exchange& exchange, Deadline deadline);

}  // namespace kombu
