// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/kombu.hpp>

#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

/// The broker that a test program runs against: KOMBU_TEST_URL. Only programs with "memory" in their name run without
/// it; any other program would pass on memory and never reach its broker.
inline std::string broker_url() {
    if (const char* const url = std::getenv("KOMBU_TEST_URL")) return url;
    const std::string_view program = program_invocation_short_name;
    if (program.find("memory") != std::string_view::npos) return "memory://tests";
    throw std::runtime_error("KOMBU_TEST_URL is not set: run these tests with ctest");
}

/// Redis stores neither exchanges nor queues, only bindings and messages, so it lacks some guarantees of AMQP
/// (docs/parity.md).
inline bool on_redis() { return broker_url().starts_with("redis"); }

/// A name that no other test, and no earlier run, uses.
inline std::string unique(const std::string& name) {
    static std::atomic<int> count{0};
    return name + "." + std::to_string(::getpid()) + "." + std::to_string(++count);
}

/// A queue bound to its own exchange. The destructor deletes both.
struct Topology {
    explicit Topology(const std::string& type = "direct", kombu::QueueOptions options = {})
        : exchange(unique("test.exchange"), type), queue(unique("test.queue"), exchange, "key", std::move(options)) {}
    Topology(const Topology&) = delete;
    Topology& operator=(const Topology&) = delete;
    ~Topology() {
        try {
            kombu::Connection connection{broker_url()};
            auto channel = connection.channel();
            channel.queue_delete(queue.name());
            channel.exchange_delete(exchange.name());
        } catch (const kombu::Error&) {
            // An exclusive queue of a connection that is still open; it is deleted with that connection.
        }
    }
    const kombu::Exchange exchange;
    const kombu::Queue queue;
};
