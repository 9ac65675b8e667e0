// SPDX-License-Identifier: BSD-3-Clause
// The news example of Kombu's "Connection and Producer Pools" guide: an article is published through a pool of
// producers and read back through a pool of connections. What happens is printed.
//
// Usage: news [URL]    (default: memory://news, a broker inside this program)
#include <kombu/kombu.hpp>

#include <chrono>
#include <exception>
#include <iostream>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

template <class Pool>
void print_counters(const char* name, const Pool& pool) {
    const kombu::PoolStats stats = pool.stats();
    std::cout << "  " << name << ": limit " << stats.limit << ", in use " << stats.in_use << ", idle " << stats.idle
              << ", created " << stats.created << ", acquired " << stats.acquired << ", discarded " << stats.discarded
              << "\n";
}

void run(const char* url) {
    const kombu::Connection broker{url};
    const kombu::Exchange news{"news"};
    const kombu::Queue domestic{"news.domestic", news, "domestic"};
    const kombu::Json article = {{"title", "No cellular coverage on the tube for 2012"},
                                 {"ingress", "yadda yadda yadda"}};

    {
        auto producer = pools::producers[broker].acquire({.block = true, .timeout = 5s});
        std::cout << "Pool:       " << pools::producers[broker].name() << "\n";
        producer->publish(article, {.exchange = news,
                                    .routing_key = "domestic",
                                    .declare = {news, domestic},
                                    .serializer = "json",
                                    .compression = "zlib"});
        std::cout << "Published:  " << article << "\n";
    }  // the producer returns to its pool, and its connection to the pool of connections

    {
        auto connection = pools::connections[broker].acquire({.block = true, .timeout = 5s});
        std::cout << "Connection: " << connection->as_uri() << "\n";
        auto queue = connection->simple_queue(domestic);
        kombu::Message message = queue.get({.block = true, .timeout = 5s});
        std::cout << "Received:   " << message.payload() << "\n"
                  << "            " << message.content_type() << ", " << message.raw_body().size()
                  << " bytes compressed, " << message.body().size() << " uncompressed\n";
        message.ack();
    }

    std::cout << "Counters:\n";
    print_counters("producers  ", pools::producers[broker]);
    print_counters("connections", pools::connections[broker]);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        run(argc > 1 ? argv[1] : "memory://news");
    } catch (const std::exception& error) {
        std::cerr << "news: " << error.what() << "\n";
        return 1;
    }
}
