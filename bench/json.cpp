// SPDX-License-Identifier: BSD-3-Clause
// Writing a JSON body, compared with nlohmann_json's dump(). CPU time of the thread, medians.
//
//   json [REPETITIONS]
#include <kombu/json.hpp>
#include <kombu/serialization.hpp>

#include "processor_time.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

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
        const double dump = median_nanoseconds(repetitions, 200, [&] { size = body.dump().size(); });
        const double written =
            median_nanoseconds(repetitions, 200, [&] { size = kombu::encode_body(body, "json").data.size(); });
        std::printf("%-5d objects, %5zu bytes %10.0f %10.0f %10.2f\n", count, size, dump, written, written / dump);
    }
    return 0;
}
