// SPDX-License-Identifier: BSD-3-Clause
// How a ConsumerLoop calls its handlers: order, threads, types, batches. Runs against memory, RabbitMQ and Redis.
#include "support/background_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/looping.hpp"

#include <future>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE_METHOD(Looping, "N1 N2 a loop with one thread handles messages in their order, and acknowledges them",
                 "[loop]") {
    publish(100);
    ConsumerLoop loop{connection, {topology.queue}, {.consumer = {.prefetch_count = 10}}};
    loop.on_message([&](Message& message) { record(message); });
    BackgroundLoop background{loop};
    await_seen(100);
    const StopReport report = background.stop();
    CHECK(seen == numbers(100));
    CHECK(report.in_time);
    CHECK(report.handled == 100);
    CHECK(report.requeued == 0);
    CHECK(report.abandoned == 0);
    CHECK(ready() == 0);
    const ConsumerStats stats = loop.stats();
    CHECK(stats.acknowledged == 100);
    CHECK(stats.in_hand == 0);
    CHECK(stats.consumes == 1);
    check_sum(stats);
}

TEST_CASE_METHOD(Looping, "N2 with n threads n handlers run at once", "[loop]") {
    publish(8);
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 4}};
    int running = 0, most = 0;
    loop.on_message([&](Message&) {
        std::unique_lock lock{mutex};
        most = std::max(most, ++running);
        changed.notify_all();
        // Each waits for the others of its four.
        expect(changed.wait_for(lock, 20s, [&] { return running == 4 || most == 4; }));
        changed.wait_for(lock, 5ms, [] { return false; });
        --running;
        seen.push_back(0);
        changed.notify_all();
    });
    BackgroundLoop background{loop};
    await_seen(8);
    background.stop();
    CHECK(most == 4);
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "what was handled is acknowledged while a later handler runs, and others wait", "[loop]") {
    publish(40);
    ConsumerLoop loop{connection, {topology.queue}};
    std::promise<void> slow_begins, slow_may_end;
    loop.on_message([&](Message& message) {
        if (message.payload() != 20) return;
        slow_begins.set_value();
        slow_may_end.get_future().wait();
    });
    BackgroundLoop background{loop};
    slow_begins.get_future().wait();
    CHECK(eventually([&] { return loop.stats().acknowledged == 20; }));
    CHECK(eventually([&] { return loop.stats().in_hand == 20; }));  // the last ones may still be on their way
    slow_may_end.set_value();
    CHECK(eventually([&] { return loop.stats().acknowledged == 40; }));
    background.stop();
}

TEST_CASE_METHOD(Looping, "N3 N10 with many threads each message is handled once", "[loop]") {
    const int count = 3000;
    publish(count);
    ConsumerLoop loop{connection, {topology.queue}, {.consumer = {.prefetch_count = 200}, .threads = 8}};
    loop.on_message([&](Message& message) { record(message); });
    BackgroundLoop background{loop};
    await_seen(count);
    background.stop();
    std::sort(seen.begin(), seen.end());
    CHECK(seen == numbers(count));
    CHECK(ready() == 0);
    check_sum(loop.stats());
}

TEST_CASE_METHOD(Looping, "N10 messages are settled from any thread, in any order, and once", "[loop]") {
    const int count = 400;
    publish(count);
    ConsumerLoop loop{connection, {topology.queue}, {.consumer = {.prefetch_count = 1000}, .ack = AckMode::manual}};
    std::vector<Message> held;
    loop.on_message([&](Message& message) {
        const std::lock_guard lock{mutex};
        held.push_back(std::move(message));
        seen.push_back(0);
        changed.notify_all();
    });
    BackgroundLoop background{loop};
    await_seen(count);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = held.size(); i-- > 0;)
                if (i % 4 == t) held[i].ack();
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_THROWS_AS(held[7].ack(), MessageStateError);
    CHECK_THROWS_AS(held[7].requeue(), MessageStateError);
    CHECK(eventually([&] { return loop.stats().acknowledged == count; }));
    background.stop();
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Looping, "messages with equal keys are handled in their order, one at a time", "[loop]") {
    for (int n = 0; n < 120; ++n) {
        auto options = to_queue();
        options.headers = {{"user", n % 5}};
        producer.publish(n, options);
    }
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 4, .order_key = [](const Message& message) {
                                                         return message.headers()["user"].dump();
                                                     }}};
    std::map<int, std::vector<int>> by_user;
    std::set<int> busy;
    bool overlapped = false;
    loop.on_message([&](Message& message) {
        const int user = message.headers()["user"];
        {
            const std::lock_guard lock{mutex};
            overlapped = overlapped || !busy.insert(user).second;
        }
        std::this_thread::yield();
        const std::lock_guard lock{mutex};
        busy.erase(user);
        by_user[user].push_back(message.payload().get<int>());
        seen.push_back(0);
        changed.notify_all();
    });
    BackgroundLoop background{loop};
    await_seen(120);
    background.stop();
    CHECK_FALSE(overlapped);
    CHECK(by_user.size() == 5);
    for (const auto& [user, list] : by_user) CHECK(std::is_sorted(list.begin(), list.end()));
}

TEST_CASE_METHOD(Looping, "a handler takes a type of the program's", "[loop]") {
    producer.publish(Json{{"x", 1}}, to_queue());
    producer.publish("no map", to_queue());
    producer.publish(Json{{"x", 2}}, to_queue());
    using Values = std::map<std::string, int>;
    ConsumerLoop loop{connection, {topology.queue}};
    std::vector<int> values;
    loop.on_message([&](const Values& body, Message& message) {
        expect(message.content_type() == "application/json");
        const std::lock_guard lock{mutex};
        values.push_back(body.at("x"));
        seen.push_back(0);
        changed.notify_all();
    });
    BackgroundLoop background{loop};
    await_seen(2);
    CHECK(eventually([&] { return loop.stats().rejected == 1; }));
    background.stop();
    CHECK(values == std::vector<int>{1, 2});
    CHECK(ready() == 0);
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "messages are handled in batches", "[loop]") {
    publish(25);
    ConsumerLoop loop{connection, {topology.queue}};
    std::vector<std::size_t> sizes;
    loop.on_batch({.max = 10, .linger = 100ms}, [&](std::span<Message> messages) {
        for (const Message& message : messages) record(message);
        const std::lock_guard lock{mutex};
        sizes.push_back(messages.size());
    });
    BackgroundLoop background{loop};
    await_seen(25);
    background.stop();
    CHECK(seen == numbers(25));
    CHECK(sizes.size() <= 5);
    CHECK(*std::max_element(sizes.begin(), sizes.end()) == 10);
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Looping, "without a handler of batches messages are handled one by one", "[loop]") {
    publish(5);
    ConsumerLoop loop{connection, {topology.queue}};
    loop.on_message([&](Message& message) { record(message); });
    loop.on_batch({.max = 5}, nullptr);
    BackgroundLoop background{loop};
    await_seen(5);
    background.stop();
    CHECK(seen == numbers(5));
    CHECK(loop.stats().acknowledged == 5);
    CHECK(loop.stats().dropped_unsettled == 0);
}
