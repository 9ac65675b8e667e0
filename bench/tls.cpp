// SPDX-License-Identifier: BSD-3-Clause
// What TLS costs the client: CPU time of a connect and of a publish, plain, over TLS, and with a resumed TLS session.
//
//   tls PLAIN-URL RESUMING-URL FULL-URL [COUNT]
//
// RESUMING-URL is of a listener that gives TLS session tickets, FULL-URL of one that does not: each of its connections
// is a full handshake. tests/support/rabbitmq.sh starts both.
#include <kombu/kombu.hpp>

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace kombu;

namespace {

double cpu_microseconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

template <class Step>
double median_cpu(int count, Step step) {
    std::vector<double> samples;
    for (int i = 0; i < count; ++i) {
        const double begin = cpu_microseconds();
        step();
        samples.push_back(cpu_microseconds() - begin);
    }
    std::nth_element(samples.begin(), samples.begin() + count / 2, samples.end());
    return samples[static_cast<std::size_t>(count / 2)];
}

double connect_cost(const std::string& url, int count) {
    const Connection broker{url};
    Connection{broker}.connect();  // loads the files, and gets the first ticket
    return median_cpu(count, [&] { Connection{broker}.connect(); });
}

double publish_cost(const std::string& url, int count) {
    Connection connection{url};
    Producer producer{connection};
    const std::string body(1000, 'x');
    const PublishOptions options{.routing_key = "bench.tls.nobody"};
    producer.publish(body, options);
    return median_cpu(count, [&] { producer.publish(body, options); });
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
