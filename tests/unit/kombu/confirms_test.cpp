// SPDX-License-Identifier: BSD-3-Clause
// Which messages a broker has confirmed.
#include "support/catch.hpp"

#include "amqp/confirms.hpp"

#include <cstdint>
#include <map>
#include <random>

using namespace kombu::amqp;
using Outcome = Confirms::Outcome;

TEST_CASE("confirmations may come in any order", "[amqp][confirms]") {
    Confirms confirms;
    for (std::uint64_t number = 1; number <= 4; ++number) REQUIRE(confirms.on_published() == number);
    CHECK(confirms.on_confirm(3, false, true));
    CHECK(confirms.outcome(1) == Outcome::pending);
    CHECK(confirms.outcome(3) == Outcome::confirmed);
    CHECK(confirms.on_confirm(2, false, false));
    CHECK(confirms.outcome(1) == Outcome::pending);
    CHECK(confirms.outcome(2) == Outcome::nacked);
    CHECK(confirms.outcome(2) == Outcome::confirmed);  // reported once
    CHECK(confirms.on_confirm(1, false, true));
    CHECK(confirms.pending_count() == 1);
    CHECK(confirms.outcome(4) == Outcome::pending);
    CHECK(confirms.on_confirm(0, true, true));  // all
    CHECK(confirms.pending_count() == 0);
    CHECK_FALSE(confirms.on_confirm(5, false, true));
    CHECK_FALSE(confirms.on_confirm(UINT64_MAX, true, true));
}

TEST_CASE("outcomes are those of a table of all messages", "[amqp][confirms]") {
    std::mt19937 random{20261130};
    const auto up_to = [&](std::uint64_t most) {
        return std::uniform_int_distribution<std::uint64_t>{0, most}(random);
    };
    for (int round = 0; round < 50; ++round) {
        Confirms confirms;
        std::map<std::uint64_t, Outcome> table;
        for (int step = 0; step < 400; ++step) {
            if (up_to(1) == 0 || table.empty()) {
                table[confirms.on_published()] = Outcome::pending;
                continue;
            }
            const std::uint64_t number = up_to(table.size());
            const bool multiple = up_to(7) == 0, acknowledged = up_to(3) != 0;
            REQUIRE(confirms.on_confirm(number, multiple, acknowledged));
            const std::uint64_t last = multiple && number == 0 ? table.size() : number;
            for (auto& [n, outcome] : table)
                if (outcome == Outcome::pending && n <= last && (multiple || n == number))
                    outcome = acknowledged ? Outcome::confirmed : Outcome::nacked;
            std::size_t pending = 0;
            for (auto& [n, outcome] : table) {
                REQUIRE(confirms.is_pending(n) == (outcome == Outcome::pending));
                pending += outcome == Outcome::pending ? 1 : 0;
            }
            REQUIRE(confirms.pending_count() == pending);
        }
        for (const auto& [n, outcome] : table) REQUIRE(confirms.outcome(n) == outcome);
    }
}
