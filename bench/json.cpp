// SPDX-License-Identifier: BSD-3-Clause
// Writing a JSON body, compared with nlohmann_json's dump(). CPU time of the thread, medians.
//
//   json [REPETITIONS]
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

double cpu_nanoseconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

template <class Step>
double median_cost(int repetitions, Step step) {
    constexpr int calls = 200;
    std::vector<double> samples;
    for (int i = 0; i < repetitions; ++i) {
        const double begin = cpu_nanoseconds();
        for (int call = 0; call < calls; ++call) step();
        samples.push_back((cpu_nanoseconds() - begin) / calls);
    }
    std::ranges::nth_element(samples, samples.begin() + repetitions / 2);
    return samples[static_cast<std::size_t>(repetitions / 2)];
}

}  // namespace

int main(int argc, char** argv) {
    const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 501;
    const kombu::Json article = {{"id", 1234567},
                                 {"name", "a line of text of some length"},
                                 {"price", 12.5},
                                 {"tags", {"a", "b", "c"}},
                                 {"stock", true}};
    std::printf("%-24s %10s %10s %10s\n", "", "dump(), ns", "kombu, ns", "ratio");
    for (const int count : {1, 100}) {
        kombu::Json body = article;
        if (count != 1) body = kombu::Json(static_cast<std::size_t>(count), article);
        std::size_t size = 0;
        const double dump = median_cost(repetitions, [&] { size = body.dump().size(); });
        const double written = median_cost(repetitions, [&] { size = kombu::encode_body(body, "json").data.size(); });
        std::printf("%-5d objects, %5zu bytes %10.0f %10.0f %10.2f\n", count, size, dump, written, written / dump);
    }
    return 0;
}
