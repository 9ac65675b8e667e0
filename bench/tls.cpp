// SPDX-License-Identifier: BSD-3-Clause
// What TLS costs the client: CPU time of a connect and of a publish, plain, over TLS, and with a resumed TLS session.
//
//   tls PLAIN-URL RESUMING-URL FULL-URL [COUNT]
//
// RESUMING-URL is of a listener that gives TLS session tickets, FULL-URL of one that does not: each of its connections
// is a full handshake. tests/support/rabbitmq.sh starts both.
#include <kombu/kombu.hpp>

#include "processor_time.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

using namespace kombu;

namespace {

double connect_cost(const std::string& url, int count) {
    const Connection broker{url};
    Connection{broker}.connect();  // loads the files, and gets the first ticket
    return median_nanoseconds(count, 1, [&] { Connection{broker}.connect(); }) / 1e3;
}

double publish_cost(const std::string& url, int count) {
    Connection connection{url};
    Producer producer{connection};
    const std::string body(1000, 'x');
    const PublishOptions options{.routing_key = "bench.tls.nobody"};
    producer.publish(body, options);
    return median_nanoseconds(count, 1, [&] { producer.publish(body, options); }) / 1e3;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 4) {
        std::fprintf(stderr, "usage: tls PLAIN-URL RESUMING-URL FULL-URL [COUNT]\n");
        return 2;
    }
    const int repetitions = count > 4 ? std::atoi(arguments[4]) : 200;
    const double plain = connect_cost(arguments[1], repetitions);
    const double resumed = connect_cost(arguments[2], repetitions);
    const double full = connect_cost(arguments[3], repetitions);
    std::printf("connect, CPU us: plain %.0f, full handshake %.0f, resumed %.0f\n", plain, full, resumed);
    std::printf("handshake alone: full %.0f, resumed %.0f: %.2f x\n", full - plain, resumed - plain,
                (resumed - plain) / (full - plain));
    std::printf("whole reconnect: %.2f x\n", resumed / full);
    std::printf("publish of 1000 bytes, confirmed, CPU us: plain %.1f, TLS %.1f\n",
                publish_cost(arguments[1], repetitions * 10), publish_cost(arguments[2], repetitions * 10));
    return 0;
}
