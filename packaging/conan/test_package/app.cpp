// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/kombu.hpp>

#include <chrono>

int main() {
    const kombu::Connection broker{"memory://package"};
    kombu::pools::producers[broker].acquire()->publish(
        "hello", {.routing_key = "greetings", .declare = {kombu::Queue{"greetings"}}});
    auto connection = kombu::pools::connections[broker].acquire();
    auto queue = connection->simple_queue(kombu::Queue{"greetings"});
    kombu::Message message = queue.get({.timeout = std::chrono::seconds{5}});
    message.ack();
    return message.payload() == "hello" ? 0 : 1;
}
