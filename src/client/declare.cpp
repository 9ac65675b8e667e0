// SPDX-License-Identifier: BSD-3-Clause
#include "client/declare.hpp"

#include <string>
#include <variant>

namespace kombu {

async::Operation<> declare(TransportChannel& channel, const Entity& entity, Deadline deadline) {
    if (const auto* const queue = std::get_if<Queue>(&entity))
        co_await declare(channel, *queue, deadline);
    else
        co_await declare(channel, std::get<Exchange>(entity), deadline);
}

async::Operation<> declare(TransportChannel& channel, const Exchange& exchange, Deadline deadline) {
    if (exchange.name().empty() || exchange.name().starts_with("amq.") || exchange.options().no_declare) co_return;
    co_await channel.exchange_declare(exchange, deadline);
}

async::Operation<std::string> declare(TransportChannel& channel, const Queue& queue, Deadline deadline) {
    if (queue.options().no_declare) co_return queue.name();
    co_await declare(channel, queue.exchange(), deadline);
    const QueueInfo info = co_await channel.queue_declare(queue, deadline);
    if (queue.options().on_declared) queue.options().on_declared(info);
    if (!queue.exchange().name().empty())
        co_await channel.queue_bind(info.name, queue.exchange().name(), queue.routing_key(),
                                    queue.options().binding_arguments, deadline);
    for (const Binding& binding : queue.options().bindings) {
        co_await declare(channel, binding.exchange, deadline);
        co_await channel.queue_bind(info.name, binding.exchange.name(), binding.routing_key, binding.arguments,
                                    deadline);
    }
    co_return info.name;
}

}  // namespace kombu
