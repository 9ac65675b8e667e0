// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/entity.hpp>
#include <kombu/error.hpp>

#include "memory/broker.hpp"
#include "net/blocking_driver.hpp"

#include <chrono>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE("a client that is interrupted just before it waits does not wait", "[memory]") {
    memory::Broker broker;
    memory::Client client;
    broker.queue_declare(Queue{"q"}, client);
    client.interrupted = true;
    broker.interrupt(client);
    const auto begin = Clock::now();
    CHECK_THROWS_AS(net::run(broker.reserve("q", client, Deadline::after(30s))), ConnectionError);
    CHECK(Clock::now() - begin < 20s);
}

TEST_CASE("a message behind one of a higher priority expires when it is the next one", "[memory]") {
    memory::Broker broker;
    memory::Client client;
    broker.queue_declare(Queue{"dead"}, client);
    broker.queue_declare(Queue{"q", {.max_priority = 9, .dead_letter_exchange = "", .dead_letter_routing_key = "dead"}},
                         client);
    const auto publish = [&](const char* body, int priority, std::optional<std::string> expiration) {
        auto metadata = std::make_shared<MessageMetadata>();
        metadata->routing_key = "q";
        metadata->properties.priority = priority;
        metadata->properties.expiration = std::move(expiration);
        memory::Broker::Route route;
        broker.publish(std::make_shared<const OutgoingMessage>(OutgoingMessage{std::move(metadata), std::string{body}}),
                       route);
    };
    publish("high", 5, std::nullopt);
    publish("low", 1, "1");
    CHECK_FALSE(net::run(broker.reserve("dead", client, Deadline::after(20ms))));
    const auto reserved = [&](const char* queue, Deadline deadline) {
        return std::string{std::string_view{net::run(broker.reserve(queue, client, deadline))->message.content->body}};
    };
    CHECK(reserved("q", Deadline::after(0s)) == "high");
    CHECK(reserved("dead", Deadline::after(10s)) == "low");
    CHECK(broker.queue_declare(Queue{"q", {.passive = true}}, client).messages == 0);
}
