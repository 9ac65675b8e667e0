// SPDX-License-Identifier: BSD-3-Clause
// What a ConsumerLoop gives back when it stops or pauses. Runs against memory, RabbitMQ and Redis.
#include "support/background_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/looping.hpp"

#include <atomic>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE_METHOD(Looping, "N16 a stop finishes what has begun and gives back the rest", "[loop]") {
    publish(50);
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 2}};
    std::atomic<int> started{0};
    std::promise<void> release;
    const auto released = release.get_future().share();
    std::atomic<bool> stopped{false};
    std::atomic<int> started_after_stop{0};
    loop.on_message([&](Message&) {
        if (stopped) ++started_after_stop;
        ++started;
        released.wait();
    });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return started == 2; }));
    stopped = true;
    background.request_stop();
    // Those that were not begun are ready again while the handlers still run.
    CHECK(eventually([&] { return ready() == 48; }));
    release.set_value();
    const StopReport report = background.wait();
    CHECK(report.in_time);
    CHECK(report.handled == 2);
    CHECK(report.abandoned == 0);
    CHECK(started_after_stop == 0);
    CHECK(ready() == 48);
    CHECK(loop.stats().in_hand == 0);
    check_sum(loop.stats());
}

TEST_CASE_METHOD(Looping, "N16 after the drain_timeout handlers are asked to stop, and their messages go back",
                 "[loop]") {
    publish(3);
    ConsumerLoop loop{connection, {topology.queue}, {.drain_timeout = 50ms}};
    std::atomic<int> started{0};
    loop.on_message([&](Message&, std::stop_token stop) {
        ++started;
        while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
    });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return started == 1; }));
    const auto start = Clock::now();
    const StopReport report = background.stop();
    CHECK(Clock::now() - start >= 50ms);
    CHECK_FALSE(report.in_time);
    CHECK(report.abandoned == 1);
    CHECK(report.handled == 0);
    CHECK(started == 1);
    CHECK(eventually([&] { return ready() == 3; }));
    CHECK(loop.stats().late == 1);
}

TEST_CASE_METHOD(Looping, "with Drain::prefetched a stop handles all that was received", "[loop]") {
    publish(30);
    ConsumerLoop loop{connection, {topology.queue}, {.consumer = {.prefetch_count = 10}, .drain = Drain::prefetched}};
    std::promise<void> release;
    const auto released = release.get_future().share();
    loop.on_message([&](Message& message) {
        released.wait();
        record(message);
    });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return ready() == 20 && loop.stats().in_hand == 10; }));
    background.request_stop();
    release.set_value();
    const StopReport report = background.wait();
    CHECK(report.in_time);
    CHECK(report.handled + report.requeued >= 10);
    CHECK(report.handled == seen.size());
    CHECK(seen == numbers(static_cast<int>(seen.size())));
    CHECK(ready() == 30 - seen.size());
}

TEST_CASE_METHOD(Looping, "a paused loop gives its messages to others, and goes on when it is resumed", "[loop]") {
    ConsumerLoop loop{connection, {topology.queue}};
    loop.on_message([&](Message& message) { record(message); });
    BackgroundLoop background{loop};
    publish(5);
    await_seen(5);
    loop.pause();
    CHECK(eventually([&] { return loop.stats().in_hand == 0; }));
    auto queue = other.simple_queue(topology.queue);
    CHECK(eventually([&] {
        publish(1, 100);
        try {
            queue.get({.timeout = 100ms}).ack();
            return true;
        } catch (const Empty&) {
            return false;
        }
    }));
    publish(3, 5);
    CHECK(eventually([&] { return ready() == 3; }));
    loop.resume();
    CHECK(eventually([&] {
        const std::lock_guard lock{mutex};
        return std::count(seen.begin(), seen.end(), 7) == 1;
    }));
    background.stop();
}

TEST_CASE_METHOD(Looping, "a stop loses nothing that was received with AckMode::on_receipt and not begun", "[loop]") {
    publish(20);
    ConsumerLoop loop{connection, {topology.queue}, {.ack = AckMode::on_receipt}};
    std::promise<void> release;
    const auto released = release.get_future().share();
    loop.on_message(record_until(released));
    BackgroundLoop background{loop};
    await_seen(1);
    background.request_stop();
    CHECK(eventually([&] { return ready() == 19; }));
    release.set_value();
    const StopReport report = background.wait();
    CHECK(report.handled == 1);
    CHECK(report.requeued + report.handled <= 20);
    CHECK(ready() == 19);
}

TEST_CASE_METHOD(Looping, "N2 what a pause or a stop gives back comes again in its order", "[loop]") {
    publish(20);
    for (const bool pauses : {true, false}) {
        ConsumerLoop loop{connection, {topology.queue}, {.consumer = {.prefetch_count = 8}}};
        std::promise<void> release;
        const auto released = release.get_future().share();
        loop.on_message(record_until(released));
        BackgroundLoop background{loop};
        await_seen(pauses ? 1 : 21);
        if (pauses) {
            loop.pause();
            CHECK(eventually([&] { return ready() == 19; }));
            release.set_value();
            CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
            loop.resume();
            await_seen(20);
            background.stop();
            publish(20, 20);
        } else {
            background.request_stop();
            CHECK(eventually([&] { return ready() == 19; }));
            release.set_value();
            background.wait();
        }
    }
    ConsumerLoop rest{connection, {topology.queue}};
    rest.on_message([&](Message& message) { record(message); });
    BackgroundLoop background{rest};
    await_seen(40);
    background.stop();
    CHECK(seen == numbers(40));
}

TEST_CASE_METHOD(Looping, "a pause in the middle of a batch gives it back, and costs no processor time", "[loop]") {
    publish(3);
    ConsumerLoop loop{connection, {topology.queue}};
    std::atomic<int> calls{0};
    loop.on_batch({.max = 100, .linger = 10s}, [&](std::span<Message>) { ++calls; });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return loop.stats().in_hand == 3; }));
    loop.pause();
    CHECK(eventually([&] { return ready() == 3; }));
    const std::clock_t before = std::clock();
    std::this_thread::sleep_for(300ms);
    CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.2);
    background.stop();
    CHECK(calls == 0);
    check_sum(loop.stats());
}

TEST_CASE_METHOD(Looping, "N18 with a single active consumer messages keep their order over a stop", "[loop]") {
    if (on_redis()) return;  // has no such queues
    const Queue single{unique("single"), {.queue_arguments = {{"x-single-active-consumer", true}}}};
    Connection idle{broker_url()};
    Consumer successor{idle, {single}, {.priority = 5}};
    std::vector<int> order;  // under the mutex
    successor.on_message([&](Message& message) {
        const std::lock_guard lock{mutex};
        order.push_back(message.payload().get<int>());
        message.ack();
    });
    {
        ConsumerLoop loop{connection, {single}};
        loop.on_message([&](Message& message) {
            const std::lock_guard lock{mutex};
            order.push_back(message.payload().get<int>());
            changed.notify_all();
        });
        BackgroundLoop background{loop};
        REQUIRE(eventually([&] { return loop.stats().consumes == 1; }));
        successor.consume();
        for (int n = 0; n < 50; ++n) producer.publish(n, {.routing_key = single.name()});
        REQUIRE(eventually([&] { return loop.stats().received > 0; }));
        background.stop();
    }
    while (order.size() < 50) REQUIRE(idle.drain_events(10s));
    CHECK(order == numbers(50));
    other.default_channel().queue_delete(single.name());
}
