#pragma once

#include <kombu/kombu.hpp>

#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

/// The broker that a test program runs against: KOMBU_TEST_URL. Only those that have memory in their name do without;
/// any other program would pass on memory without having seen its broker.
inline std::string broker_url() {
    if (const char* const url = std::getenv("KOMBU_TEST_URL")) return url;
    const std::string_view program = program_invocation_short_name;
    if (program.find("memory") != std::string_view::npos) return "memory://tests";
    throw std::runtime_error("KOMBU_TEST_URL is not set: run these tests with ctest");
}

/// Redis keeps neither exchanges nor queues, only what is bound and what is in them: some of what AMQP promises cannot
/// be had there (docs/parity.md).
inline bool on_redis() { return broker_url().starts_with("redis"); }

/// A name that no other test, and no earlier run, uses.
inline std::string unique(const std::string& name) {
    static std::atomic<int> count{0};
    return name + "." + std::to_string(::getpid()) + "." + std::to_string(++count);
}

/// A queue bound to an exchange of its own; both are deleted at the end.
struct Place {
    explicit Place(const std::string& type = "direct", kombu::QueueOptions options = {})
        : exchange(unique("test.exchange"), type), queue(unique("test.queue"), exchange, "key", std::move(options)) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
        try {
            kombu::Connection connection{broker_url()};
            auto channel = connection.channel();
            channel.queue_delete(queue.name());
            channel.exchange_delete(exchange.name());
        } catch (const kombu::Error&) {
            // An exclusive queue of a connection that lives on; it goes with that.
        }
    }
    const kombu::Exchange exchange;
    const kombu::Queue queue;
};
