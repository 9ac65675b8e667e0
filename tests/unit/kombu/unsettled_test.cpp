// SPDX-License-Identifier: BSD-3-Clause
// Which frames acknowledge the deliveries of a channel.
#include "amqp/unsettled.hpp"
#include "support/catch.hpp"

#include <random>
#include <set>
#include <string>

using kombu::amqp::Unsettled;

namespace {

std::string acks(Unsettled& deliveries) {
    std::string text;
    for (const Unsettled::Ack& ack : deliveries.take_acknowledged())
        text += (text.empty() ? "" : " ") + std::to_string(ack.tag) + (ack.multiple ? "+" : "");
    return text;
}

Unsettled delivered(std::uint64_t count) {
    Unsettled deliveries;
    for (std::uint64_t tag = 1; tag <= count; ++tag) REQUIRE(deliveries.on_delivered(tag));
    return deliveries;
}

}  // namespace

TEST_CASE("acknowledgements without a gap are one frame", "[amqp][unsettled]") {
    Unsettled deliveries = delivered(6);
    CHECK(acks(deliveries).empty());
    for (const std::uint64_t tag : {2, 1, 3}) deliveries.acknowledge(tag);
    CHECK(deliveries.size() == 6);
    CHECK(acks(deliveries) == "3+");
    CHECK(deliveries.size() == 3);
    deliveries.acknowledge(4);
    CHECK(acks(deliveries) == "4");
    deliveries.acknowledge(6);
    CHECK(acks(deliveries) == "6");
    deliveries.acknowledge(5);
    CHECK(acks(deliveries) == "5");
    CHECK(deliveries.size() == 0);
}

TEST_CASE("a delivery that is open is never acknowledged by a frame for many", "[amqp][unsettled]") {
    Unsettled deliveries = delivered(5);
    for (const std::uint64_t tag : {1, 3, 4}) deliveries.acknowledge(tag);
    CHECK(acks(deliveries) == "1 3 4");
    deliveries.remove(2);  // rejected
    deliveries.acknowledge(5);
    CHECK(acks(deliveries) == "5");
}

TEST_CASE("a delivery is settled once", "[amqp][unsettled]") {
    Unsettled deliveries = delivered(3);
    deliveries.acknowledge(2);
    CHECK_FALSE(deliveries.contains(2));
    deliveries.acknowledge(2);
    deliveries.remove(2);
    CHECK(deliveries.acknowledged() == 1);
    deliveries.acknowledge_until(3);
    CHECK(acks(deliveries) == "3+");
    CHECK_FALSE(deliveries.contains(1));
    CHECK_FALSE(deliveries.contains(99));
}

TEST_CASE("tags that cannot be the next ones are refused", "[amqp][unsettled]") {
    Unsettled deliveries = delivered(5);
    CHECK_FALSE(deliveries.on_delivered(5));
    deliveries.acknowledge_until(5);
    acks(deliveries);
    CHECK_FALSE(deliveries.on_delivered(5));
    CHECK_FALSE(deliveries.on_delivered(2));
    CHECK(deliveries.on_delivered(9));  // others needed no acknowledgement
    CHECK_FALSE(deliveries.on_delivered(std::uint64_t{1} << 60U));
    deliveries.acknowledge(9);
    CHECK(acks(deliveries) == "9");
}

TEST_CASE("whatever is acknowledged in whatever order, each frame covers settled deliveries only",
          "[amqp][unsettled]") {
    std::mt19937 random{5};
    Unsettled deliveries;
    std::set<std::uint64_t> open, recorded;
    std::uint64_t next = 1;
    for (int step = 0; step < 20'000; ++step) {
        if (open.size() < 50 && random() % 2 == 0) {
            REQUIRE(deliveries.on_delivered(next));
            open.insert(next++);
        } else if (!open.empty()) {
            const auto chosen = std::next(open.begin(), static_cast<std::ptrdiff_t>(random() % open.size()));
            if (random() % 10 == 0) {
                deliveries.remove(*chosen);
            } else {
                deliveries.acknowledge(*chosen);
                recorded.insert(*chosen);
            }
            open.erase(chosen);
        }
        if (random() % 7 != 0) continue;
        for (const Unsettled::Ack& ack : deliveries.take_acknowledged()) {
            if (ack.multiple) {
                const bool covers_open = !open.empty() && *open.begin() <= ack.tag;
                REQUIRE_FALSE(covers_open);
                recorded.erase(recorded.begin(), recorded.upper_bound(ack.tag));
            } else {
                REQUIRE(recorded.erase(ack.tag) == 1);
            }
        }
        REQUIRE(recorded.empty());
        REQUIRE(deliveries.size() == open.size());
    }
}
