// SPDX-License-Identifier: BSD-3-Clause
// ConsumerLoop, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/background_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"
#include "support/messaging_fixture.hpp"

#include <sys/resource.h>

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

struct Looping : Messaging {
    Connection other{broker_url()};
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<int> seen;  // under the mutex
    std::atomic<int> unexpected{0};

    /// For the threads of the handlers, where assertions are not possible.
    void expect(bool holds) {
        if (!holds) ++unexpected;
    }
    void publish(int count, int first = 0) {
        Batch batch = producer.batch();
        for (int n = first; n < first + count; ++n) batch.publish(n, to_queue());
        batch.commit(30s);
    }
    std::uint32_t ready() { return other.simple_queue(topology.queue).qsize(); }
    void record(const Message& message) {
        const std::lock_guard lock{mutex};
        seen.push_back(message.payload().get<int>());
        changed.notify_all();
    }
    /// Waits until that many were recorded.
    void await_seen(std::size_t count) {
        std::unique_lock lock{mutex};
        CHECK(changed.wait_for(lock, 30s, [&] { return seen.size() >= count; }));
    }
};

std::vector<int> numbers(int count) {
    std::vector<int> list;
    for (int n = 0; n < count; ++n) list.push_back(n);
    return list;
}

void check_sum(const ConsumerStats& stats) {
    CHECK(stats.received ==
          stats.acknowledged + stats.rejected + stats.requeued + stats.retried + stats.late + stats.in_hand);
}

}  // namespace

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

TEST_CASE_METHOD(Looping, "N12 a failing handler rejects by default, and the loop goes on", "[loop]") {
    publish(10);
    ConsumerLoop loop{connection, {topology.queue}};
    const LogCapture logged;
    loop.on_message([&](Message& message) {
        record(message);
        if (message.payload() == 3) throw std::runtime_error("cannot handle three");
        if (message.payload() == 4) throw 4;
    });
    BackgroundLoop background{loop};
    await_seen(10);
    const StopReport report = background.stop();
    CHECK(seen == numbers(10));
    CHECK(report.handled == 10);
    CHECK(loop.stats().failed == 2);
    CHECK(loop.stats().rejected == 2);
    CHECK(ready() == 0);
    CHECK_THAT(logged.text(), Contains("cannot handle three"));
}

TEST_CASE_METHOD(Looping, "N12 requeueing is slowed down while other messages go on", "[loop]") {
    publish(20);
    ConsumerLoop loop{connection, {topology.queue}, {.on_failure = {.then = FailurePolicy::requeue}}};
    std::atomic<int> sevens{0};
    loop.on_message([&](Message& message) {
        if (message.payload() == 7) {
            ++sevens;
            throw std::runtime_error("again");
        }
        record(message);
    });
    const auto start = Clock::now();
    BackgroundLoop background{loop};
    await_seen(19);
    CHECK(eventually([&] { return sevens >= 4; }));
    const auto elapsed = Clock::now() - start;
    background.stop();
    CHECK(sevens <= 2 + elapsed / 100ms);
    CHECK(eventually([&] { return ready() == 1; }));
}

TEST_CASE_METHOD(Looping, "N12 a retried message comes again after the delay, exactly so often, and is rejected then",
                 "[loop]") {
    auto options = to_queue();
    options.headers = {{"trace", "t"}};
    options.message_id = "m1";
    producer.publish(Json{{"n", 1}}, options);
    ConsumerLoop loop{
        connection,
        {topology.queue},
        {.on_failure = {
             .then = FailurePolicy::retry, .max_attempts = 3, .interval_start = 200ms, .interval_step = 100ms}}};
    std::vector<Clock::time_point> calls;
    loop.on_message([&](Message& message) {
        expect(message.payload() == Json{{"n", 1}});
        expect(message.headers()["trace"] == "t");
        expect(message.properties().message_id == "m1");
        expect(message.delivery_info().exchange == topology.exchange.name());
        expect(message.delivery_info().routing_key == "key");
        const std::lock_guard lock{mutex};
        calls.push_back(Clock::now());
        throw std::runtime_error("not yet");
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().rejected == 1; }));
    background.stop();
    REQUIRE(calls.size() == 3);
    CHECK(calls[1] - calls[0] >= 200ms);
    CHECK(calls[2] - calls[1] >= 300ms);
    CHECK(loop.stats().retried == 2);
    CHECK(ready() == 0);
    check_sum(loop.stats());
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a handler returns or throws what is to be done with its message", "[loop]") {
    publish(4);
    ConsumerLoop loop{connection, {topology.queue}};
    std::atomic<int> calls{0};
    loop.on_message([&](Message& message) -> Outcome {
        ++calls;
        const int n = message.payload();
        const bool again = message.redelivered();
        if (n == 1 && !again) throw Requeue{};
        if (n == 2) throw Reject{};
        if (n == 3 && !again) return Outcome::requeue;
        return n == 0 ? Outcome::reject : Outcome::acknowledge;
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 2 && loop.stats().rejected == 2; }));
    background.stop();
    CHECK(calls == 6);
    CHECK(loop.stats().requeued == 2);
    CHECK(loop.stats().failed == 0);
    CHECK(ready() == 0);
}

TEST_CASE_METHOD(Looping, "N13 poison is rejected or reported, and the others are handled", "[loop]") {
    const PublishOptions poison{
        .exchange = topology.exchange, .routing_key = "key", .content_type = "application/json"};
    publish(1);
    {
        Batch batch = producer.batch();
        for (int i = 0; i < 50; ++i) {
            batch.publish("{", poison);
            batch.publish(i + 1, to_queue());
        }
        batch.commit(30s);
    }
    for (const bool reported : {false, true}) {
        if (reported) {
            publish(51);
            producer.publish("{", poison);
        }
        seen.clear();
        ConsumerLoop loop{connection, {topology.queue}};
        loop.on_message([&](Message& message) { record(message); });
        std::atomic<int> reports{0};
        if (reported)
            loop.on_decode_error([&](Message& message, const Error&) {
                ++reports;
                message.ack();
            });
        BackgroundLoop background{loop};
        await_seen(51);
        CHECK(
            eventually([&] { return loop.stats().rejected + static_cast<unsigned>(reports) == (reported ? 1 : 50); }));
        background.stop();
        CHECK(seen.size() == 51);
        CHECK(ready() == 0);
        CHECK(reports == (reported ? 1 : 0));
    }
}

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

TEST_CASE_METHOD(Looping, "with AckMode::on_receipt a failing handler loses its message", "[loop]") {
    publish(3);
    ConsumerLoop loop{connection, {topology.queue}, {.ack = AckMode::on_receipt}};
    loop.on_message([&](Message& message) {
        record(message);
        expect(message.acknowledged());
        throw std::runtime_error("too late");
    });
    BackgroundLoop background{loop};
    await_seen(3);
    background.stop();
    CHECK(ready() == 0);
    CHECK(loop.stats().acknowledged == 3);
    check_sum(loop.stats());
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a message that is destroyed unsettled is requeued, once, and counted", "[loop]") {
    publish(1);
    ConsumerLoop loop{connection, {topology.queue}, {.ack = AckMode::manual}};
    std::atomic<int> calls{0};
    loop.on_message([&](Message& message) {
        if (++calls == 1) return;
        expect(message.redelivered());
        message.ack();
    });
    const LogCapture logged;
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return calls == 2; }));
    background.stop();
    CHECK(loop.stats().dropped_unsettled == 1);
    CHECK(loop.stats().requeued == 1);
    CHECK(ready() == 0);
    CHECK_THAT(logged.text(), Contains("destroyed without a settlement"));
    check_sum(loop.stats());
    CHECK(unexpected == 0);
}

TEST_CASE_METHOD(Looping, "a handler that takes too long is reported, and asked to stop", "[loop]") {
    publish(1);
    ConsumerLoop loop{connection, {topology.queue}, {.handler_timeout = 30ms}};
    const LogCapture logged;
    std::atomic<bool> asked{false};
    loop.on_message([&](Message&, std::stop_token stop) {
        while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
        asked = true;
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return asked.load(); }));
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    background.stop();
    CHECK_THAT(logged.text(), Contains("longer than its handler_timeout"));
}

TEST_CASE_METHOD(Looping, "on_decode_error and batch handlers may throw Reject and Requeue too", "[loop]") {
    producer.publish("{", {.exchange = topology.exchange,
                           .routing_key = "key",
                           .declare = {topology.exchange, topology.queue},
                           .content_type = "application/json"});
    {
        ConsumerLoop loop{connection, {topology.queue}};
        loop.on_message([](const Json&, Message&) {});
        std::atomic<int> calls{0};
        loop.on_decode_error([&](Message& message, const Error&) {
            ++calls;
            if (!message.redelivered()) throw Requeue{};
            throw Reject{};
        });
        BackgroundLoop background{loop};
        CHECK(eventually([&] { return loop.stats().rejected == 1; }));
        background.stop();
        CHECK(calls == 2);
        CHECK(loop.stats().requeued == 1);
    }
    publish(2);
    ConsumerLoop loop{connection, {topology.queue}};
    loop.on_batch({.max = 2}, [](std::span<Message> messages) {
        if (!messages.front().redelivered()) throw Requeue{};
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 2; }));
    background.stop();
    CHECK(loop.stats().requeued == 2);
    CHECK(loop.stats().failed == 0);
}

TEST_CASE_METHOD(Looping, "a stop loses nothing that was received with AckMode::on_receipt and not begun", "[loop]") {
    publish(20);
    ConsumerLoop loop{connection, {topology.queue}, {.ack = AckMode::on_receipt}};
    std::promise<void> release;
    const auto released = release.get_future().share();
    loop.on_message([&](Message& message) {
        record(message);
        released.wait();
    });
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
        loop.on_message([&](Message& message) {
            record(message);
            released.wait();
        });
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

TEST_CASE_METHOD(Looping, "N12 a message of a queue with a long name is retried too", "[loop]") {
    const Queue queue{unique("long") + std::string(225, 'x'), {.expires = 60s}};
    producer.publish(1, {.routing_key = queue.name(), .declare = {queue}});
    ConsumerLoop loop{
        connection, {queue}, {.on_failure = {.then = FailurePolicy::retry, .max_attempts = 2, .interval_start = 10ms}}};
    std::atomic<int> calls{0};
    loop.on_message([&](Message&) {
        if (++calls == 1) throw std::runtime_error("once");
    });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    background.stop();
    CHECK(calls == 2);
    other.default_channel().queue_delete(queue.name());
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

TEST_CASE_METHOD(Looping, "a loop tells its observer what happens", "[loop]") {
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
    const auto usage = [] {
        rusage now{};
        ::getrusage(RUSAGE_SELF, &now);
        return now;
    };
    const auto microseconds = [](const rusage& at) {
        return (at.ru_utime.tv_sec + at.ru_stime.tv_sec) * 1'000'000 + at.ru_utime.tv_usec + at.ru_stime.tv_usec;
    };
    std::this_thread::sleep_for(300ms);  // what follows the last message
    const rusage before = usage();
    std::this_thread::sleep_for(2s);  // the time that is measured
    const rusage after = usage();
    CHECK(microseconds(after) - microseconds(before) <= 40'000);
    CHECK(after.ru_nvcsw - before.ru_nvcsw <= 60);
    background.stop();
}
