// SPDX-License-Identifier: BSD-3-Clause
// How the run of a ConsumerLoop begins, ends and is observed. Runs against memory, RabbitMQ and Redis.
#include "support/background_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/looping.hpp"
#include "support/process_use.hpp"

#include <atomic>
#include <string>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Looping, "N27 a loop tells its observer what happens", "[loop]") {
    struct Observer : ConsumerObserver {
        std::atomic<int> consuming{0}, deliveries{0}, failures{0}, open_spans{0};
        void on_consuming(const std::string& endpoint) override {
            if (endpoint.find("secret") == std::string::npos) ++consuming;
        }
        std::shared_ptr<void> on_delivery(const Message& message, const std::string&) override {
            if (message.headers()["traceparent"] == "00-1-2-01") ++deliveries;
            ++open_spans;
            return std::shared_ptr<void>(this, [](Observer* self) { --self->open_spans; });
        }
        void on_failure(const Message&, const std::exception&) override { ++failures; }
    };
    const auto observer = std::make_shared<Observer>();
    auto options = to_queue();
    options.headers = {{"traceparent", "00-1-2-01"}};
    producer.publish(1, options);
    ConsumerLoop loop{connection, {topology.queue}, {.observer = observer}};
    loop.on_message([&](Message&) {
        expect(observer->open_spans == 1);
        throw std::runtime_error("x");
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().rejected == 1; }));
    background.stop();
    CHECK(observer->consuming == 1);
    CHECK(observer->deliveries == 1);
    CHECK(observer->failures == 1);
    CHECK(observer->open_spans == 0);
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a loop without a handler, or that runs already, is refused", "[loop]") {
    ConsumerLoop loop{connection, {topology.queue}};
    CHECK_THROWS_AS(loop.run(), ConfigurationError);
    CHECK_THROWS_AS((ConsumerLoop{connection, {}}), ConfigurationError);
    CHECK_THROWS_AS((ConsumerLoop{connection, {topology.queue}, {.threads = 0}}), ConfigurationError);
    CHECK_THROWS_AS((ConsumerLoop{connection, {topology.queue}, {.on_failure = {.max_attempts = 0}}}),
                    ConfigurationError);
    loop.on_message([&](Message& message) { record(message); });
    publish(1);
    {
        BackgroundLoop background{loop};
        await_seen(1);
        CHECK_THROWS_AS(loop.run(), LeaseError);
        background.stop();
    }
    // And again.
    publish(1, 1);
    BackgroundLoop background{loop};
    await_seen(2);
    CHECK(background.stop().handled == 1);
    CHECK(loop.stats().consumes == 2);
}

TEST_CASE_METHOD(Looping, "N8 what the broker refuses at the first attempt is an error of run()", "[loop]") {
    connection.default_channel().declare(Queue{topology.queue.name(), {.durable = true}});
    ConsumerLoop loop{connection, {Queue{topology.queue.name(), {.durable = false, .auto_delete = true}}}};
    loop.on_message([](Message&) {});
    if (on_redis()) return;  // stores no properties of queues
    CHECK_THROWS_AS(loop.run(), ChannelError);
}

TEST_CASE_METHOD(Looping, "a stop before the start, or while the broker cannot be reached, ends run() at once",
                 "[loop]") {
    ConsumerLoop loop{connection, {topology.queue}};
    loop.on_message([](Message&) {});
    std::stop_source stop;
    stop.request_stop();
    CHECK(loop.run(stop.get_token()).handled == 0);

    // Nobody listens on port 1.
    ConsumerLoop unreachable{Connection{"amqp://127.0.0.1:1"}, {topology.queue}};
    unreachable.on_message([](Message&) {});
    BackgroundLoop background{unreachable};
    CHECK(eventually([&] { return unreachable.stats().failed_attempts >= 2; }));
    const auto start = Clock::now();
    CHECK(background.stop().in_time);
    CHECK(Clock::now() - start < 5s);
    CHECK_THAT(unreachable.stats().last_error, Contains("127.0.0.1:1"));
}

TEST_CASE_METHOD(Looping, "N22 an idle loop needs neither processor time nor wake-ups", "[loop]") {
    publish(3);
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 4}};
    std::atomic<int> handled{0};
    loop.on_message([&](Message&) { ++handled; });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return handled == 3; }));
    std::this_thread::sleep_for(300ms);  // what follows the last message
    const ProcessUse idle = ProcessUse::during(2s);
    CHECK(idle.processor <= 40ms);
    CHECK(idle.wakeups <= 60);
    background.stop();
}
