// SPDX-License-Identifier: BSD-3-Clause
// Messages that cannot be handled wait in a queue of their own and come back later: by queues alone, which the broker
// keeps when the program ends. (A ConsumerLoop with FailurePolicy::retry does the same without naming queues.)
//
//     work  --rejected-->  work.wait  --after its message_ttl-->  work  --after the third time-->  work.dead
//
//     dead_letters [URL]       on the embedded broker, or RabbitMQ; Redis has no dead-lettering
#include <kombu/kombu.hpp>

#include <chrono>
#include <iostream>
#include <stop_token>
#include <string>

using namespace std::chrono_literals;

namespace {

const kombu::Exchange retries{"work.retries"};
const kombu::Queue dead{"work.dead"};
const kombu::Queue waiting{"work.wait",
                           retries,
                           "work",
                           {.message_ttl = 200ms, .dead_letter_exchange = "", .dead_letter_routing_key = "work"}};
const kombu::Queue work{"work", {.dead_letter_exchange = retries.name(), .dead_letter_routing_key = "work"}};

/// How often the message was rejected before. The broker counts, also for programs that have crashed.
std::int64_t rejections(const kombu::Message& message) {
    const kombu::Json deaths = message.headers().value("x-death", kombu::Json::array());
    for (const kombu::Json& death : deaths)
        if (death.value("queue", "") == work.name() && death.value("reason", "") == "rejected")
            return death.value("count", std::int64_t{0});
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    const kombu::Connection broker{argc > 1 ? argv[1] : "memory://dead_letters"};
    auto producer = kombu::pools::producers[broker].acquire({.block = true, .timeout = 5s});
    producer->publish("good", {.routing_key = work.name(), .declare = {dead, waiting, work}});
    producer->publish("bad", {.routing_key = work.name()});

    std::stop_source stop;
    kombu::ConsumerLoop loop{broker, {work}};
    loop.on_message([&](kombu::Message& message) {
        const std::string text = message.payload();
        const auto before = rejections(message);
        std::cout << text << ", attempt " << before + 1 << "\n";
        if (text == "good") return kombu::Outcome::acknowledge;
        if (before < 2) return kombu::Outcome::reject;  // to work.wait
        producer->publish(message.payload(), {.routing_key = dead.name(), .headers = message.headers()});
        stop.request_stop();
        return kombu::Outcome::acknowledge;
    });
    loop.run(stop.get_token());

    auto connection = kombu::pools::connections[broker].acquire({.block = true, .timeout = 5s});
    kombu::Message letter = connection->simple_queue(dead).get(5s);
    std::cout << letter.payload().get<std::string>() << " is dead after " << rejections(letter) << " rejections\n";
    letter.ack();
    for (const kombu::Queue* queue : {&work, &waiting, &dead})
        connection->default_channel().queue_delete(queue->name());
    connection->default_channel().exchange_delete(retries.name());
    return 0;
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
