// SPDX-License-Identifier: BSD-3-Clause
// How late a publish of 127 MiB to a broker that does not read returns, after its timeout.
//
//   deadline URL PAUSE-COMMAND RESUME-COMMAND
#include <kombu/kombu.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

std::string random_text(std::size_t size) {
    std::minstd_rand random{1};
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>('a' + random() % 26);
    return text;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 4) {
        std::fprintf(stderr, "usage: deadline URL PAUSE-COMMAND RESUME-COMMAND\n");
        return 2;
    }
    const std::string text = random_text(std::size_t{127} << 20);
    const std::vector<unsigned char> bytes(text.begin(), text.end());
    Json strings = Json::array(), numbers = Json::array();
    for (std::size_t i = 0; i < 127; ++i) strings.push_back(text.substr(i << 20, std::size_t{1} << 20));
    for (int i = 0; i < 5'000'000; ++i) numbers.push_back(i * 0.37);

    double latest = 0;
    for (const bool compressed : {false, true}) {
        for (const char* kind : {"text", "bytes", "strings", "numbers"}) {
            for (const std::chrono::milliseconds timeout : {5ms, 100ms, 1000ms}) {
                Connection connection{arguments[1]};
                Producer producer{connection};
                PublishOptions options{.routing_key = "bench.deadline.nobody"};
                producer.publish("connects", options);
                if (std::system(arguments[2]) != 0) return 2;
                options.timeout = timeout;
                if (compressed) options.compression = "zlib";
                std::chrono::duration<double, std::milli> taken{};
                std::string error = "none";
                const auto begin = Clock::now();
                try {
                    const std::string_view body = kind;
                    if (body == "text") producer.publish(text, options);
                    if (body == "bytes") producer.publish(bytes, options);
                    if (body == "strings") producer.publish(strings, options);
                    if (body == "numbers") producer.publish(numbers, options);
                } catch (const Timeout& timed_out) {
                    taken = Clock::now() - begin;
                    error = timed_out.what();
                }
                if (std::system(arguments[3]) != 0) return 2;
                const double late = taken.count() - static_cast<double>(timeout.count());
                latest = std::max(latest, late);
                std::printf("%-8s %-10s timeout %4lld ms: %3.0f ms late: %s\n", kind, compressed ? "compressed" : "",
                            static_cast<long long>(timeout.count()), late, error.c_str());
            }
        }
    }
    std::printf("the latest: %.0f ms\n", latest);
    return latest < 50 ? 0 : 1;
}
