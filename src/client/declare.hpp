#pragma once

#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

namespace kombu {

/// Declares an entity with all that belongs to it: a queue with its exchange and bindings. The arguments live until it
/// is done.
async::Operation<> declare(TransportChannel& channel, const Entity& entity, Deadline deadline);
async::Operation<> declare(TransportChannel& channel, const Queue& queue, Deadline deadline);
async::Operation<> declare(TransportChannel& channel, const Exchange& exchange, Deadline deadline);

}  // namespace kombu
