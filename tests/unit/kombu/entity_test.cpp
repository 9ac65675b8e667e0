// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/entity.hpp>
#include <kombu/error.hpp>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE("exchanges have Kombu's defaults", "[entity]") {
    const Exchange exchange{"news"};
    CHECK(exchange.name() == "news");
    CHECK(exchange.type() == "direct");
    CHECK(exchange.durable());
    CHECK_FALSE(exchange.auto_delete());
    CHECK_FALSE(exchange.options().delivery_mode);
    CHECK(exchange.can_cache_declaration());
    CHECK(Exchange{}.name().empty());
}

TEST_CASE("queues have Kombu's defaults", "[entity]") {
    const Queue queue{"q", "news", "domestic"};
    CHECK(queue.name() == "q");
    CHECK(queue.exchange() == Exchange{"news"});
    CHECK(queue.routing_key() == "domestic");
    CHECK(queue.durable());
    CHECK_FALSE(queue.exclusive());
    CHECK_FALSE(queue.auto_delete());
    CHECK_FALSE(queue.options().no_ack);
    CHECK(queue.declare_arguments() == Json::object());
    CHECK(Queue{"q"}.exchange().name().empty());
}

TEST_CASE("an exclusive queue is an auto-delete queue", "[entity]") {
    CHECK(Queue("q", {}, {}, {.exclusive = true}).auto_delete());
}

TEST_CASE("queue options become RabbitMQ's arguments and win over those given by hand", "[entity]") {
    const Queue queue{"q",
                      {},
                      {},
                      {.queue_arguments = {{"x-max-length", 1}, {"x-queue-mode", "lazy"}},
                       .expires = 5s,
                       .message_ttl = 1.5s,
                       .max_length = 10,
                       .max_length_bytes = 100,
                       .max_priority = 9}};
    CHECK(queue.declare_arguments() == Json{{"x-queue-mode", "lazy"},
                                            {"x-expires", 5000},
                                            {"x-message-ttl", 1500},
                                            {"x-max-length", 10},
                                            {"x-max-length-bytes", 100},
                                            {"x-max-priority", 9}});
}

TEST_CASE("a declaration is cached only where the entity cannot vanish by itself", "[entity]") {
    CHECK(Queue{"q"}.can_cache_declaration());
    CHECK_FALSE(Queue("q", {}, {}, {.auto_delete = true}).can_cache_declaration());
    CHECK_FALSE(Queue("q", {}, {}, {.expires = 1s}).can_cache_declaration());
    CHECK_FALSE(Queue("q", {}, {}, {.queue_arguments = {{"x-expires", 1}}}).can_cache_declaration());
    CHECK_FALSE(Queue{""}.can_cache_declaration());
    CHECK_FALSE(Exchange("e", "direct", {.auto_delete = true}).can_cache_declaration());
}

TEST_CASE("entities are equal when their declarations are", "[entity]") {
    const Queue queue{"q", "e", "k"};
    CHECK(queue == Queue{"q", "e", "k"});
    CHECK_FALSE(Exchange{"e"} == Exchange("e", "direct", {.delivery_mode = 1}));
    const Queue others[] = {Queue{"x", "e", "k"},
                            Queue{"q", "x", "k"},
                            Queue{"q", "e", "x"},
                            Queue{"q", Exchange{"e", "topic"}, "k"},
                            Queue{"q", "e", "k", {.durable = false}},
                            Queue{"q", "e", "k", {.max_length = 1}},
                            Queue{"q", "e", "k", {.bindings = {{Exchange{"f"}, "k"}}}}};
    for (const Queue& other : others) CHECK_FALSE(queue == other);
}

TEST_CASE("invalid entities are refused", "[entity]") {
    const std::string longest(256, 'x');
    CHECK_THROWS_AS(Exchange{longest}, ConfigurationError);
    CHECK_THROWS_AS(Queue{longest}, ConfigurationError);
    CHECK_THROWS_AS((Queue{"q", "e", longest}), ConfigurationError);
    CHECK_THROWS_AS(Queue{std::string("a\0b", 3)}, ConfigurationError);
    CHECK_THROWS_AS(Queue("q", {}, {}, {.queue_arguments = Json::array()}), ConfigurationError);
    CHECK_THROWS_AS(Exchange("e", "direct", {.arguments = 1}), ConfigurationError);
    CHECK_NOTHROW(Exchange{std::string(255, 'x')});
}

TEST_CASE("a moved-from entity stays usable", "[entity]") {
    Queue queue{"q", "e", "k"};
    const Queue other = std::move(queue);
    CHECK(queue == other);
    Exchange exchange{"e"};
    const Exchange another = std::move(exchange);
    CHECK(exchange.name() == "e");
}

TEST_CASE("a delivery mode is spelled as a number, a name or a constant", "[entity]") {
    CHECK(DeliveryMode{1} == DeliveryMode::transient);
    CHECK(DeliveryMode{"persistent"} == DeliveryMode::persistent);
    CHECK(DeliveryMode::persistent.value() == 2);
    CHECK_THROWS_AS(DeliveryMode{3}, ConfigurationError);
    CHECK_THROWS_AS(DeliveryMode{"forever"}, ConfigurationError);
}
