// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"

#include "redis/contention.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <numeric>
#include <queue>
#include <random>
#include <vector>

using namespace kombu;
using namespace kombu::redis;
using namespace std::chrono_literals;

namespace {

using Time = Clock::time_point;

/// Consumers of one queue, simulated: messages arrive at a steady rate or at random, the server tells those that wait
/// in a fixed order, and each does what its Contention says.
class Simulation {
public:
    Simulation(std::size_t consumers, Clock::duration interval, bool random_arrivals, Clock::duration work)
        : interval_(interval), random_arrivals_(random_arrivals), work_(work), received(consumers) {
        for (std::size_t i = 0; i < consumers; ++i) {
            consumers_.emplace_back(1s);
            consumers_.back().set_consumers(consumers);
            wait(i);
        }
    }

    void run(Clock::duration time) {
        at(0ns, [this] { arrive(); });
        for (const Time end = now_ + time; !events_.empty() && events_.top().when < end;) {
            const auto event = events_.top();
            events_.pop();
            now_ = event.when;
            event.action();
        }
    }

    int messages = 0, losers = 0;
    std::vector<Clock::duration> delays{};

private:
    struct Event {
        Time when;
        int number;
        std::function<void()> action;
        bool operator<(const Event& other) const {
            return std::pair{other.when, other.number} < std::pair{when, number};
        }
    };

    void at(Clock::duration delay, std::function<void()> action) {
        events_.push({now_ + delay, ++event_count_, std::move(action)});
    }
    double share() { return std::uniform_real_distribution<>{0, 1}(random_); }

    void arrive() {
        ++messages;
        pending_.push(now_);
        Clock::duration trip = 100us;
        for (const std::size_t i : std::exchange(waiting_, {})) {
            at(trip, [this, i] { at(consumers_[i].on_notice(now_, share()), [this, i] { attempt(i, true); }); });
            trip += 20us;
        }
        std::exponential_distribution<> exponential{1 / static_cast<double>(interval_.count())};
        at(random_arrivals_ ? Clock::duration{static_cast<std::int64_t>(exponential(random_))} : interval_,
           [this] { arrive(); });
    }
    void attempt(std::size_t i, bool notified) {
        if (!pending_.empty()) {
            delays.push_back(now_ - pending_.front());
            pending_.pop();
            ++received[i];
            consumers_[i].on_received(now_, !notified, share());
            at(work_, [this, i] {
                if (!pending_.empty()) return attempt(i, false);
                at(std::max(Clock::duration{0}, consumers_[i].rests_until() - now_), [this, i] { look(i); });
            });
        } else {
            ++losers;
            at(consumers_[i].on_lost(now_, share()), [this, i] { look(i); });
        }
    }
    void look(std::size_t i) {
        if (!pending_.empty()) return attempt(i, false);
        wait(i);
    }
    void wait(std::size_t i) {
        consumers_[i].on_waiting(now_);
        waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), i), i);
    }

    Clock::duration interval_;
    bool random_arrivals_;
    Clock::duration work_;
    Time now_{1h};
    std::minstd_rand random_{42};
    std::vector<Contention> consumers_{};
    std::vector<std::size_t> waiting_{};
    std::queue<Time> pending_{};
    std::priority_queue<Event> events_{};
    int event_count_ = 0;

public:
    std::vector<int> received;
};

}  // namespace

TEST_CASE("few consumers race for a message, and each gets its share", "[redis][contention]") {
    for (const bool random_arrivals : {false, true}) {
        for (const std::size_t consumers : {1U, 2U, 3U, 10U, 50U, 100U}) {
            INFO(consumers << " consumers" << (random_arrivals ? ", arrivals at random" : ""));
            Simulation queue{consumers, 5ms, random_arrivals, 400us};
            queue.run(60s);
            const double mean = static_cast<double>(queue.messages) / static_cast<double>(consumers);
            CHECK(*std::min_element(queue.received.begin(), queue.received.end()) >= 0.5 * mean);
            CHECK(queue.losers <= (random_arrivals ? 2.5 : 2) * queue.messages);
            std::sort(queue.delays.begin(), queue.delays.end());
            CHECK(queue.delays[queue.delays.size() / 2] < 300us);
            CHECK(queue.delays[queue.delays.size() * 99 / 100] < 15ms);
            CHECK(queue.delays.size() + 3 >= static_cast<std::size_t>(queue.messages));
        }
    }
}

TEST_CASE("consumers that work for long are not kept from messages by rests", "[redis][contention]") {
    // 80 of 100 are busy at any time.
    Simulation queue{100, 5ms, true, 400ms};
    queue.run(60s);
    std::sort(queue.delays.begin(), queue.delays.end());
    CHECK(queue.delays[queue.delays.size() / 2] < 2ms);
    CHECK(queue.delays[queue.delays.size() * 9 / 10] < 30ms);
}

TEST_CASE("races for rare messages have a limited rate, and single consumers never pause", "[redis][contention]") {
    Simulation rare{100, 100ms, true, 1ms};
    rare.run(60s);
    CHECK(rare.losers < 60 * 700);
    Contention alone{1s};
    alone.set_consumers(1);
    const Time now = Time{} + 1h;
    alone.on_waiting(now);
    CHECK(alone.on_notice(now + 1s, 0.9) == 0ns);
    alone.on_received(now + 1s, false, 0.9);
    CHECK(alone.rests_until() <= now + 1s);
    CHECK(alone.on_lost(now + 1s, 0.9) == 0ns);
}
