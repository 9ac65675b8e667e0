// SPDX-License-Identifier: BSD-3-Clause
// A broker that is killed, and started again some seconds later, under the threads of a service.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"
#include "support/publishers.hpp"

#include <kombu/kombu.hpp>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

void run(const std::string& command) { REQUIRE(std::system((command + " >/dev/null").c_str()) == 0); }

class OutageObserver : public PoolObserver {
public:
    void connected(const std::string&, const std::string& endpoint, Nanoseconds) override {
        const std::lock_guard lock{mutex};
        endpoints.push_back(endpoint);
    }
    void connect_failed(const std::string&, const std::exception&) override {
        const std::lock_guard lock{mutex};
        failures.push_back(Clock::now());
    }
    void connection_lost(const std::string&, const std::string& reason) override {
        const std::lock_guard lock{mutex};
        losses.push_back(reason);
    }
    void broker_lost(const std::string&, const std::exception&) override {
        const std::lock_guard lock{mutex};
        ++lost;
    }
    void broker_recovered(const OutageReport& report) override {
        const std::lock_guard lock{mutex};
        recoveries.push_back(report);
    }
    template <class Value>
    Value read(Value OutageObserver::*member) const {
        const std::lock_guard lock{mutex};
        return this->*member;
    }

    mutable std::mutex mutex;
    std::vector<std::string> endpoints, losses;
    std::vector<Clock::time_point> failures;
    int lost = 0;
    std::vector<OutageReport> recoveries;
};

/// The largest number of these within one second.
std::size_t most_in_a_second(const std::vector<Clock::time_point>& times) {
    std::size_t most = 0;
    for (auto first = times.begin(); first != times.end(); ++first)
        most = std::max(most, static_cast<std::size_t>(std::ranges::count_if(
                                  first, times.end(), [&](auto time) { return time - *first < 1s; })));
    return most;
}

}  // namespace

TEST_CASE("an outage of the broker is seen, costs few attempts, and ends for all threads", "[outage]") {
    run(KOMBU_TEST_KILL);
    run(KOMBU_TEST_RESTART);
    const LogCapture log;
    const auto observer = std::make_shared<OutageObserver>();
    const Connection broker{KOMBU_TEST_URL};
    pools::Connections connections{{.limit = 16, .name = "service", .observer = observer}};
    pools::Producers producers{{.limit = 16, .connections = &connections, .name = "service"}};
    const Queue queue{"outage"};
    Publishers publishers{
        producers, broker, {.threads = 16, .publish = {.routing_key = "outage", .declare = {queue}, .timeout = 2s}}};
    const auto begin = Clock::now();
    REQUIRE(eventually([&] { return publishers.all_published_since(begin); }));
    CHECK(observer->read(&OutageObserver::lost) == 0);

    run(KOMBU_TEST_KILL);
    const auto killed = Clock::now();
    // Long enough to count the attempts of some seconds.
    CHECK(eventually([&] { return Clock::now() - killed > 3s; }));
    const PoolStats down = connections[broker].stats();
    run(KOMBU_TEST_RESTART);
    const auto returned = Clock::now();
    CHECK(eventually([&] { return publishers.all_published_since(returned); }));
    publishers.stop();

    CHECK(down.connect_failures >= 3);
    CHECK(down.connect_attempts > down.connect_failures);
    CHECK(down.connections_lost != 0);
    CHECK(down.last_error != "");
    CHECK(std::chrono::system_clock::now() - down.last_error_at < 60s);
    CHECK(down.kind == "connection");
    CHECK(down.key == broker.as_uri());
    CHECK(producers[broker].stats().kind == "producer");
    CHECK(producers[broker].stats().key == down.key);
    const PoolStats up = connections[broker].stats();
    CHECK(up.reconnects != 0);
    CHECK(up.endpoint == "127.0.0.1:" + std::to_string(broker.port()));
    CHECK(up.connect_attempts == up.connect_failures + up.connect.total());

    CHECK(most_in_a_second(observer->read(&OutageObserver::failures)) <= 5);
    CHECK(observer->read(&OutageObserver::endpoints).size() == up.connect.total());
    CHECK(observer->read(&OutageObserver::losses).size() == up.connections_lost);
    CHECK(observer->read(&OutageObserver::lost) == 1);
    const auto recoveries = observer->read(&OutageObserver::recoveries);
    REQUIRE(recoveries.size() == 1);
    CHECK(recoveries[0].duration >= 3s);
    CHECK(recoveries[0].failed_calls != 0);
    CHECK(recoveries[0].failed_calls <= publishers.failures());

    const auto lines = log.lines();
    const auto count = [&](const std::string& text) {
        return std::ranges::count_if(lines, [&](const std::string& line) { return line.find(text) != line.npos; });
    };
    CHECK(count("the broker is lost: ") == 1);
    CHECK(count("the broker is back after ") == 1);
    CHECK_THAT(log.text(), Contains("service@") && Contains(" calls failed meanwhile"));
    CHECK_THAT(log.text(), !Contains("kombu-secret"));
    // A call may be late by what the machine needs to run sixteen threads; bench/outage measures it.
    CHECK(publishers.latest() < 2s);
}

TEST_CASE("a publish with retry and a timeout goes on until then, and says what it tried", "[outage]") {
    run(KOMBU_TEST_KILL);
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    const auto begin = Clock::now();
    try {
        producers[Connection{KOMBU_TEST_URL}].acquire()->publish(
            1, {.routing_key = "outage", .retry = true, .timeout = 2s});
        FAIL("published to a broker that is down");
    } catch (const ConnectionError& error) {
        CHECK(Clock::now() - begin > 1500ms);
        // The end of the time may cut the last attempt short.
        const std::string last = ".*(refused|timed out).*";
        CHECK_THAT(error.what(), Catch::Matchers::Matches(last + "; gave up after [0-9]+ attempts in [12]\\.[0-9] s"));
    }
    run(KOMBU_TEST_RESTART);
}
