// SPDX-License-Identifier: BSD-3-Clause
// Acquires a producer and publishes an object.
#include <kombu/kombu.hpp>

using namespace std::chrono_literals;

void publish(const kombu::Connection& connection) {
    auto producer = kombu::pools::producers[connection].acquire({.block = true, .timeout = 5s});
    producer->publish(kombu::Json{{"title", "No cellular coverage on the tube"}, {"year", 2012}},
                      {.routing_key = "domestic"});
}
