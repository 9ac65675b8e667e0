// SPDX-License-Identifier: BSD-3-Clause
// A request and its reply: one program answers, another one asks.
//
//     request_reply serve URL                 answers until SIGINT or SIGTERM
//     request_reply ask URL TEXT [SECONDS]    prints the reply; waits five seconds unless told otherwise
//
// A request has the name of the queue that its reply goes to, and an id by which the reply is known. A server that dies
// before it has replied leaves the request to another one.
#include <kombu/kombu.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stop_token>
#include <string>
#include <thread>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

const kombu::Queue requests{"requests.upper"};

kombu::Json answer_to(const kombu::Json& request) {
    std::string text = request.at("text").get<std::string>();
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
    return {{"text", text}, {"process", ::getpid()}};
}

int serve(const kombu::Connection& broker) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before the first thread

    // Without an answer within the failure policy's attempts the request is dropped: its asker has given up by then.
    kombu::ConsumerLoop loop{broker, {requests}, {.threads = 4}};
    loop.on_message([&](kombu::Message& message) {
        const kombu::Properties& request = message.properties();
        if (!request.reply_to) throw kombu::Reject{};
        auto producer = pools::producers[broker].acquire({.block = true, .timeout = 5s});
        // Not mandatory: the asker may be gone, and its queue with it.
        producer->publish(answer_to(message.payload()),
                          {.routing_key = *request.reply_to, .correlation_id = request.correlation_id});
    });
    std::jthread server{[&](const std::stop_token& stop) { loop.run(stop); }};
    std::cout << "serving" << std::endl;
    int signal = 0;
    sigwait(&signals, &signal);
    server.request_stop();
    server.join();
    std::cout << loop.stats().acknowledged << " requests answered\n";
    return 0;
}

int ask(const kombu::Connection& broker, const std::string& text, std::chrono::duration<double> timeout) {
    const auto deadline = kombu::Deadline::after(timeout);
    const std::string id =
        std::to_string(::getpid()) + "." + std::to_string(std::chrono::system_clock::now().time_since_epoch().count());
    auto connection = pools::connections[broker].acquire({.block = true, .timeout = timeout});
    // Exclusive: it ends with this connection.
    const kombu::Queue replies{"replies." + id, kombu::Exchange{}, "", {.exclusive = true}};
    auto queue = connection->simple_queue(replies, {.no_ack = true});
    pools::producers[broker]
        .acquire({.block = true, .timeout = timeout})
        ->publish({{"text", text}}, {.routing_key = requests.name(),
                                     .declare = {requests},
                                     .expiration = timeout,  // nobody reads the reply after that
                                     .correlation_id = id,
                                     .reply_to = replies.name(),
                                     .timeout = timeout});
    for (;;) {
        const kombu::Message reply = queue.get({.timeout = deadline.remaining()});
        if (reply.properties().correlation_id != id) continue;
        std::cout << reply.payload().at("text").get<std::string>() << '\n';
        return 0;
    }
}

}  // namespace

int main(int argc, char** argv) try {
    const std::string role = argc > 1 ? argv[1] : "";
    if (role == "serve" && argc == 3) return serve(kombu::Connection{argv[2]});
    if (role == "ask" && (argc == 4 || argc == 5))
        return ask(kombu::Connection{argv[2]}, argv[3],
                   std::chrono::duration<double>{argc == 5 ? std::atof(argv[4]) : 5.0});
    std::cerr << "usage: request_reply serve URL | ask URL TEXT [SECONDS]\n";
    return 2;
} catch (const kombu::Empty&) {
    std::cerr << "request_reply: nobody has answered in time\n";
    return 1;
} catch (const std::exception& error) {
    std::cerr << "request_reply: " << error.what() << '\n';
    return 1;
}
