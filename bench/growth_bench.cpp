// SPDX-License-Identifier: BSD-3-Clause
// Publishes while a process has much of something, for counting instructions (bench/growth): they must not grow with
// it.
//
//   growth_bench pools|entities|messages|connections SIZE
#include <kombu/kombu.hpp>

#include "sink.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#endif

using namespace std::chrono_literals;

namespace {

constexpr int measured_messages = 2000;

const kombu::Json article = {{"id", 1234567}, {"name", "a line of text of some length"}, {"tags", {"a", "b", "c"}}};

class Publisher {
public:
    explicit Publisher(std::uint16_t port) : connection_("amqp://guest:guest@127.0.0.1:" + std::to_string(port)) {}

    void publish(int messages) {
        for (int i = 0; i < messages; ++i)
            kombu::pools::producers[connection_]
                .acquire({.block = true, .timeout = 5s})
                ->publish(article, {.exchange = exchange_, .routing_key = "bench", .declare = {queue_}});
    }
    /// Of the process; they have been used.
    void make_pools(int count) {
        for (int i = 0; i < count; ++i) {
            const kombu::Connection other{"memory://broker" + std::to_string(i)};
            (void)kombu::pools::producers[other].acquire({.block = true});
        }
    }
    void declare_entities(int count) {
        auto producer = kombu::pools::producers[connection_].acquire({.block = true, .timeout = 5s});
        for (int i = 0; i < count; ++i)
            producer->maybe_declare(kombu::Queue{"queue" + std::to_string(i), exchange_, "key"});
    }
    void open_connections(std::size_t count) {
        kombu::pools::set_limit(count);
        std::vector<kombu::Lease<kombu::Producer>> producers;
        for (std::size_t i = 0; i < count; ++i) {
            producers.push_back(kombu::pools::producers[connection_].acquire({.block = true, .timeout = 5s}));
            producers.back()->publish(article, {.exchange = exchange_, .routing_key = "bench", .declare = {queue_}});
        }
    }

private:
    kombu::Connection connection_;
    kombu::Exchange exchange_{"bench"};
    kombu::Queue queue_{"bench", exchange_, "bench"};
};

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 3) throw std::invalid_argument("arguments: pools|entities|messages|connections SIZE");
    const std::string kind = argv[1];
    const int size = std::atoi(argv[2]);
    const Sink sink;
    Publisher publisher{sink.port()};
    if (kind == "pools") publisher.make_pools(size - 1);
    if (kind == "entities") publisher.declare_entities(size - 1);
    if (kind == "messages") publisher.publish(size);
    if (kind == "connections") publisher.open_connections(static_cast<std::size_t>(size));
    publisher.publish(100);
    CALLGRIND_START_INSTRUMENTATION;
    publisher.publish(measured_messages);
    CALLGRIND_STOP_INSTRUMENTATION;
    kombu::pools::reset();
    std::printf("%d messages\n", measured_messages);
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
