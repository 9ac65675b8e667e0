// SPDX-License-Identifier: BSD-3-Clause
// Sends a task to a Celery worker and waits for its result.
//
// Usage: celery_task URL [TASK [ARGS [QUEUE]]]      e.g. celery_task redis://localhost:6379/0 tasks.add '[2, 3]'
//
// The worker needs the result backend rpc://, which sends results as messages:
//     app = Celery("tasks", broker="redis://localhost:6379/0", backend="rpc://")
#include <kombu/celery.hpp>
#include <kombu/kombu.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

int run(const std::string& url, const std::string& name, const kombu::Json& args, const std::string& tasks) {
    const kombu::Connection broker{url};
    auto connection = pools::connections[broker].acquire({.block = true, .timeout = 5s});
    // A queue for the results: exclusive, so that it is deleted with the connection.
    const kombu::Queue results{"answers." + std::to_string(std::chrono::system_clock::now().time_since_epoch().count()),
                               kombu::Exchange{},
                               "",
                               {.exclusive = true}};
    auto replies = connection->simple_queue(results, {.no_ack = true});

    std::string id;
    {
        const auto producer = pools::producers[broker].acquire({.block = true, .timeout = 5s});
        id = kombu::celery::send_task(producer, name, args, kombu::Json::object(),
                                      {.queue = tasks, .expires = 60s, .reply_to = results.name(), .timeout = 5s});
    }
    std::cout << "Sent " << name << " as " << id << "\n";

    for (;;) {
        const kombu::Message message = replies.get({.timeout = 20s});
        const kombu::Json& result = message.payload();
        if (result.at("task_id") != id) continue;
        std::cout << result.at("status").get<std::string>() << ": " << result.at("result") << "\n";
        return result.at("status") == "SUCCESS" ? 0 : 1;
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: celery_task URL [TASK [ARGS [QUEUE]]]\n";
        return 2;
    }
    try {
        return run(argv[1], argc > 2 ? argv[2] : "tasks.add", kombu::Json::parse(argc > 3 ? argv[3] : "[2, 3]"),
                   argc > 4 ? argv[4] : "celery");
    } catch (const kombu::Empty&) {
        std::cerr << "no result: is there a worker with backend=\"rpc://\"?\n";
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
    }
    return 1;
}
