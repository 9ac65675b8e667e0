// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/broker.hpp"

#include <chrono>
#include <string>
#include <utility>

/// An exchange with a queue bound to it, and a connection with a producer that publishes to them.
struct Messaging {
    Topology topology;
    kombu::Connection connection{broker_url()};
    kombu::Producer producer{connection};

    kombu::PublishOptions to_queue() const {
        return {.exchange = topology.exchange, .routing_key = "key", .declare = {topology.exchange, topology.queue}};
    }
    kombu::PublishOptions to_queue(std::string serializer) const {
        auto options = to_queue();
        options.serializer = std::move(serializer);
        return options;
    }
    kombu::SimpleQueue queue(kombu::SimpleQueueOptions options = {}) {
        return connection.simple_queue(topology.queue, options);
    }
};

inline const kombu::GetOptions soon{.block = true, .timeout = std::chrono::seconds{10}};
