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
