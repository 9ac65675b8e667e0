// SPDX-License-Identifier: BSD-3-Clause
#include "client/attempt_pacing.hpp"
#include "support/catch.hpp"
#include "support/manual_clock.hpp"

#include <deque>
#include <random>

using namespace std::chrono_literals;
using kombu::Clock;
using kombu::detail::AttemptPacing;

TEST_CASE("attempts to connect run one at a time until one succeeds", "[pacing]") {
    ManualClock clock;
    AttemptPacing pacing;
    REQUIRE(pacing.may_begin(clock.now()));
    const auto first = pacing.begin(clock.now());
    CHECK_FALSE(pacing.may_begin(clock.now()));
    clock.advance(100ms);
    CHECK(pacing.failed(first, clock.now(), 0));
    CHECK(pacing.is_down());
    CHECK_FALSE(pacing.may_begin(clock.now()));
    CHECK(pacing.next_time() == clock.now() + 100ms);
    clock.advance(100ms);
    REQUIRE(pacing.may_begin(clock.now()));
    pacing.begin(clock.now());
    pacing.succeeded();
    CHECK_FALSE(pacing.is_down());
    for (int i = 0; i < 10; ++i) {
        CHECK(pacing.may_begin(clock.now()));
        pacing.begin(clock.now());
    }
}

TEST_CASE("after a lost connection one attempt at a time runs, without a pause", "[pacing]") {
    ManualClock clock;
    AttemptPacing pacing;
    pacing.begin(clock.now());
    pacing.succeeded();
    const auto epoch = pacing.epoch();
    pacing.connection_lost(epoch);
    CHECK_FALSE(pacing.is_down());
    REQUIRE(pacing.may_begin(clock.now()));
    pacing.begin(clock.now());
    CHECK_FALSE(pacing.may_begin(clock.now()));
    pacing.succeeded();
    pacing.connection_lost(epoch);  // another connection of that time, which is noticed later
    pacing.begin(clock.now());
    CHECK(pacing.may_begin(clock.now()));
}

TEST_CASE("callers with little time are paced, and after a second without a success the broker is down", "[pacing]") {
    ManualClock clock;
    AttemptPacing pacing;
    int attempts = 0;
    const auto start = clock.now();
    while (!pacing.is_down() && ++attempts < 100) {
        clock.advance(std::max(pacing.next_time(), clock.now()) - clock.now());
        const auto begun = pacing.begin(clock.now());
        clock.advance(1ms);
        pacing.cut_short(begun, clock.now() - 1ms, clock.now(), 0);
    }
    CHECK(pacing.is_down());
    CHECK(clock.now() - start >= 1s);
    CHECK(attempts <= 11);
    AttemptPacing up;
    up.begin(clock.now());
    up.succeeded();
    const auto begun = up.begin(clock.now());
    CHECK_FALSE(up.cut_short(begun, clock.now(), clock.now(), 0));
    CHECK(up.may_begin(clock.now()));
}

TEST_CASE("an attempt that takes long, or is abandoned, does not stop others", "[pacing]") {
    ManualClock clock;
    AttemptPacing pacing;
    const auto slow = pacing.begin(clock.now());
    clock.advance(AttemptPacing::slow_after - 1ns);
    CHECK_FALSE(pacing.may_begin(clock.now()));
    clock.advance(1ns);
    REQUIRE(pacing.may_begin(clock.now()));
    pacing.begin(clock.now());
    pacing.succeeded();
    CHECK_FALSE(pacing.failed(slow, clock.now(), 0));  // another has found out meanwhile
    CHECK_FALSE(pacing.is_down());
    AttemptPacing abandoned;
    abandoned.begin(clock.now());
    abandoned.abandoned();
    CHECK(abandoned.may_begin(clock.now()));
}

TEST_CASE("a broker that refuses gets five attempts a second at most, and one within half a second", "[pacing]") {
    std::minstd_rand random{1};
    for (int run = 0; run < 200; ++run) {
        ManualClock clock;
        AttemptPacing pacing;
        std::deque<Clock::time_point> last_second;
        for (int attempt = 0; attempt < 100; ++attempt) {
            const auto due = std::max(pacing.next_time(), clock.now());
            REQUIRE(due - clock.now() <= AttemptPacing::max_pause);
            clock.advance(due - clock.now());
            last_second.push_back(clock.now());
            while (clock.now() - last_second.front() >= 1s) last_second.pop_front();
            REQUIRE(last_second.size() <= 5);
            const double share = run == 0 ? 0 : std::uniform_real_distribution<>{0, 1}(random);
            REQUIRE(pacing.failed(pacing.begin(clock.now()), clock.now(), share));
        }
    }
}
