// SPDX-License-Identifier: BSD-3-Clause
// A broker that is killed under a ConsumerLoop. KOMBU_TEST_KILLS says how often.
#include "support/background_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"

#include <kombu/kombu.hpp>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

void run(const std::string& command) { REQUIRE(std::system((command + " >/dev/null").c_str()) == 0); }

int kills() {
    const char* const text = std::getenv("KOMBU_TEST_KILLS");
    return text ? std::atoi(text) : 2;
}

class Observer : public ConsumerObserver {
public:
    std::atomic<int> consuming{0}, lost{0}, failed_attempts{0};
    void on_consuming(const std::string&) override { ++consuming; }
    void on_lost(const std::exception&) override { ++lost; }
    void on_attempt_failed(const std::exception&, std::chrono::milliseconds) override { ++failed_attempts; }
};

void publish(const Connection& broker, const Queue& queue, int first, int count) {
    Connection connection = broker.clone();
    Producer producer{connection};
    Batch batch = producer.batch();
    for (int n = first; n < first + count; ++n) batch.publish(n, {.routing_key = queue.name(), .declare = {queue}});
    batch.commit(60s);
}

}  // namespace

TEST_CASE("N4 N6 N7 N27 a loop survives a broker that is killed again and again, and loses nothing", "[outage][loop]") {
    run(KOMBU_TEST_KILL);
    run(KOMBU_TEST_RESTART);
    const bool keeps_messages = std::string{KOMBU_TEST_URL}.starts_with("amqp");  // the Redis of this test does not
    const Connection broker{KOMBU_TEST_URL};
    const Queue queue{"outage.consumed"};
    const int batch_size = 300;
    publish(broker, queue, 0, batch_size);

    std::mutex mutex;
    std::map<int, int> calls;
    std::atomic<bool> hold{false};
    const auto observer = std::make_shared<Observer>();
    ConsumerLoop loop{broker, {queue}, {.consumer = {.prefetch_count = 20}, .threads = 4, .observer = observer}};
    loop.on_message([&](Message& message) {
        while (hold) std::this_thread::sleep_for(1ms);
        const std::lock_guard lock{mutex};
        ++calls[message.payload().get<int>()];
    });
    const LogCapture logged;
    BackgroundLoop background{loop};
    const auto handled = [&] {
        const std::lock_guard lock{mutex};
        return static_cast<int>(calls.size());
    };
    int published = batch_size;
    for (int kill = 0; kill < kills(); ++kill) {
        REQUIRE(eventually([&] { return handled() > published - batch_size / 2; }, 60s));
        hold = true;  // so that messages are at hand when the broker dies
        run(KOMBU_TEST_KILL);
        CHECK(eventually([&] { return observer->lost > kill; }, 20s));
        hold = false;
        CHECK(eventually([&] { return observer->failed_attempts >= 2 * (kill + 1); }, 20s));
        run(KOMBU_TEST_RESTART);
        publish(broker, queue, published, batch_size);
        published += batch_size;
        const auto returned = Clock::now();
        CHECK(eventually([&] { return observer->consuming > kill + 1; }, 20s));
        // The pauses between attempts end at one second.
        CHECK(Clock::now() - returned < 10s);
    }
    if (keeps_messages)
        CHECK(eventually([&] { return handled() == published; }, 60s));
    else
        CHECK(eventually(
            [&] {
                const std::lock_guard lock{mutex};
                return calls.contains(published - 1);
            },
            60s));
    const StopReport report = background.stop();
    CHECK(report.in_time);
    const ConsumerStats stats = loop.stats();
    CHECK(stats.in_hand == 0);
    CHECK(stats.received == stats.acknowledged + stats.rejected + stats.requeued + stats.retried + stats.late);
    CHECK(stats.consumes == static_cast<std::uint64_t>(kills()) + 1);
    CHECK(observer->lost == kills());
    // One line when it is lost, one or two when it is back.
    CHECK(logged.lines().size() <= static_cast<std::size_t>(4 * kills() + 4));
    CHECK_THAT(logged.text(),
               Contains("no longer consuming from outage.consumed (consumer ") && Contains("consuming again from"));
    CHECK_THAT(logged.text(), !Contains("kombu-secret"));
}

TEST_CASE("N16 a loop stops at once while the broker is down", "[outage][loop]") {
    run(KOMBU_TEST_KILL);
    run(KOMBU_TEST_RESTART);
    const Connection broker{KOMBU_TEST_URL};
    const Queue queue{"outage.stopped"};
    // A broker that was killed may have forgotten the acknowledgement of an earlier run.
    Connection{broker}.channel().queue_delete(queue.name());
    publish(broker, queue, 0, 1);
    const auto observer = std::make_shared<Observer>();
    ConsumerLoop loop{broker, {queue}, {.observer = observer}};
    loop.on_message([](Message&) {});
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return loop.stats().acknowledged == 1; }));
    run(KOMBU_TEST_KILL);
    CHECK(eventually([&] { return observer->failed_attempts >= 1; }, 20s));
    const auto start = Clock::now();
    const StopReport report = background.stop();
    CHECK(Clock::now() - start < 5s);
    CHECK(report.in_time);
    CHECK(report.handled == 1);
    run(KOMBU_TEST_RESTART);
}
