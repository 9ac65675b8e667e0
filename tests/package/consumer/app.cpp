// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/kombu.hpp>

#include <chrono>
#include <cstdlib>

using namespace std::chrono_literals;

int main() {
    const kombu::Connection broker{"memory://consumer"};
    {
        auto producer = kombu::pools::producers[broker].acquire({.block = true, .timeout = 5s});
        producer->publish("hello", {.routing_key = "greetings", .declare = {kombu::Queue{"greetings"}}});
    }
    auto connection = kombu::pools::connections[broker].acquire();
    const auto message = connection->simple_queue(kombu::Queue{"greetings"}).get({.block = true, .timeout = 5s});
    // An exception that leaves the shared library must be caught by its type.
    try {
        kombu::Connection{"memroy://"};
        return EXIT_FAILURE;
    } catch (const kombu::ConfigurationError&) {
    }
    return message.payload() == "hello" ? EXIT_SUCCESS : EXIT_FAILURE;
}
