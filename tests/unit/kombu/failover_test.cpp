// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/connection.hpp>
#include <kombu/error.hpp>
#include <kombu/pools.hpp>

#include <string>
#include <vector>

using namespace kombu;
using Catch::Matchers::Contains;

namespace {

const std::string nobody = "amqp://127.0.0.1:1;amqp://127.0.0.1:2;amqp://127.0.0.1:3";

std::string error_of(Connection& connection) {
    try {
        connection.connect();
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

}  // namespace

TEST_CASE("a function orders the endpoints of a broker", "[failover]") {
    std::vector<std::string> seen;
    std::size_t last_seen = 9;
    Connection connection{nobody, {.failover_strategy = [&](std::span<const Endpoint> endpoints, std::size_t last) {
                              for (const Endpoint& endpoint : endpoints) seen.push_back(std::to_string(endpoint.port));
                              last_seen = last;
                              return std::vector<std::size_t>{2, 0};
                          }}};
    const std::string error = error_of(connection);
    CHECK(seen == std::vector<std::string>{"1", "2", "3"});
    CHECK(last_seen == 0);
    CHECK(error.find(":3") < error.find(":1"));
    CHECK_THAT(error, !Contains("127.0.0.1:2"));
}

TEST_CASE("the function's order is kept in a pool, also after failures", "[failover]") {
    const auto reversed = [](std::span<const Endpoint>, std::size_t) { return std::vector<std::size_t>{2, 1, 0}; };
    pools::ConnectionPool pool{Connection{nobody, {.failover_strategy = reversed}}};
    for (int i = 0; i < 2; ++i) {
        auto connection = pool.acquire();
        const std::string error = error_of(*connection);
        CHECK(error.find(":3") < error.find(":2"));
        CHECK(error.find(":2") < error.find(":1:"));
    }
}

TEST_CASE("a function that returns no endpoint, or one too far, is an error", "[failover]") {
    for (const std::vector<std::size_t>& order : {std::vector<std::size_t>{}, std::vector<std::size_t>{3}}) {
        Connection connection{nobody,
                              {.failover_strategy = [order](std::span<const Endpoint>, std::size_t) { return order; }}};
        CHECK_THROWS_AS(connection.connect(), ConfigurationError);
    }
}

TEST_CASE("connections with one strategy function are equal, with two they are not", "[failover]") {
    const auto order = [](std::span<const Endpoint>, std::size_t) { return std::vector<std::size_t>{0}; };
    const FailoverStrategy strategy{order};
    const Connection one{nobody, {.failover_strategy = strategy}};
    CHECK(one == Connection{nobody, {.failover_strategy = strategy}});
    CHECK(one == one.clone());
    CHECK_FALSE(one == Connection{nobody, {.failover_strategy = order}});
    CHECK_FALSE(one == Connection{nobody});
    CHECK_THAT(one.as_uri(), !Contains("failover"));
}
