// SPDX-License-Identifier: BSD-3-Clause
// Messages through a transport of one's own, whose broker is an SQLite database: published and received by the same
// pools and loops as on RabbitMQ. Messages survive the processes.
//
//     sqlite_transport FILE [MESSAGES]
#include <kombu/kombu.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stop_token>

#include "transport.hpp"

int main(int argc, char** argv) try {
    if (argc < 2) {
        std::cerr << "usage: sqlite_transport FILE [MESSAGES]\n";
        return 2;
    }
    kombu::register_transport("sqlite", std::make_shared<sqlite_transport::SqliteTransport>());
    const kombu::Connection broker{"sqlite://localhost", {.virtual_host = std::filesystem::absolute(argv[1]).string()}};
    const kombu::Queue jobs{"jobs"};
    const int count = std::max(argc > 2 ? std::atoi(argv[2]) : 100, 1);
    for (int n = 0; n < count; ++n)
        kombu::pools::producers[broker].acquire()->publish({{"n", n}}, {.routing_key = "jobs", .declare = {jobs}});

    std::atomic<int> handled = 0, redelivered = 0;
    std::stop_source stop;
    kombu::ConsumerLoop loop{broker, {jobs}, {.threads = 2}};
    loop.on_message([&](kombu::Message& message) {
        if (message.redelivered()) ++redelivered;
        if (message.payload()["n"] == 0 && !message.redelivered()) return message.requeue();  // it comes again
        if (++handled == count) stop.request_stop();
    });
    loop.run(stop.get_token());
    std::cout << handled << " messages through " << broker.as_uri() << ", " << redelivered << " of them twice\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "sqlite_transport: " << error.what() << '\n';
    return 1;
}
