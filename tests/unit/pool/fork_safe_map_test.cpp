// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include <kombu/detail/fork_safe_map.hpp>

#include <optional>
#include <random>
#include <string>
#include <unordered_map>

using Map = kombu::detail::ForkSafeMap<std::string, int>;

TEST_CASE("a fork-safe map behaves as std::unordered_map", "[fork_safe_map]") {
    Map map;
    std::unordered_map<std::string, int> model;
    std::minstd_rand random{1};
    for (int step = 0; step < 20'000; ++step) {
        const std::string key = "key" + std::to_string(random() % 500);
        const auto found = model.find(key);
        const int* const value = map.find(key);
        REQUIRE((value != nullptr) == (found != model.end()));
        if (value) REQUIRE(*value == found->second);
        if (value && random() % 2 == 0) {
            REQUIRE(map.extract(key) == found->second);
            model.erase(found);
        } else if (!value && random() % 2 == 0) {
            map.insert(key, step);
            model.emplace(key, step);
        } else {
            const auto previous = map.set(key, step);
            REQUIRE(previous == (value ? std::optional{found->second} : std::nullopt));
            model[key] = step;
        }
        REQUIRE(map.size() == model.size());
    }
    std::size_t visited = 0;
    map.for_each([&](const std::string& key, int value) {
        ++visited;
        CHECK(model.at(key) == value);
    });
    CHECK(visited == model.size());
    CHECK_FALSE(map.extract("nothing"));
}
