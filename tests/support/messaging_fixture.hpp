#pragma once

#include "support/broker.hpp"

#include <chrono>
#include <string>
#include <utility>

/// An exchange with a queue bound to it, and a connection with a producer to reach them.
struct Messaging {
    Place place;
    kombu::Connection connection{broker_url()};
    kombu::Producer producer{connection};

    kombu::PublishOptions here() const {
        return {.exchange = place.exchange, .routing_key = "key", .declare = {place.exchange, place.queue}};
    }
    kombu::PublishOptions here(std::string serializer) const {
        auto options = here();
        options.serializer = std::move(serializer);
        return options;
    }
    kombu::SimpleQueue queue(kombu::SimpleQueueOptions options = {}) {
        return connection.simple_queue(place.queue, options);
    }
};

inline const kombu::GetOptions soon{.block = true, .timeout = std::chrono::seconds{10}};
