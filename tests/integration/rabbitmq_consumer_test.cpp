// SPDX-License-Identifier: BSD-3-Clause
// What only RabbitMQ does to consumers. These tests close connections and change the broker's settings.
#include "support/background_loop.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"
#include "support/messaging_fixture.hpp"
#include "support/process_use.hpp"
#include "support/rabbitmq_node.hpp"
#include "support/tcp_proxy.hpp"

#include <atomic>
#include <map>
#include <mutex>
#include <regex>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// The consumers of a queue, as the broker sees them: for each its prefetch count, whether it acknowledges, and its
/// arguments.
std::string broker_view(const std::string& queue) {
    return in_broker(
        "lists:flatten(io_lib:format(\"~p\", [[{maps:get(prefetch_count, C), maps:get(ack_required, C), "
        "maps:get(arguments, C)} || C <- lists:map(fun maps:from_list/1, "
        "rabbit_amqqueue:consumers_all(<<\"tests\">>)), "
        "element(4, maps:get(queue_name, C)) =:= <<\"" +
        queue + "\">>]]))");
}

struct ConsumerObserverCounts : ConsumerObserver {
    std::atomic<int> consuming{0}, lost{0}, failed_attempts{0};
    void on_consuming(const std::string&) override { ++consuming; }
    void on_lost(const std::exception&) override { ++lost; }
    void on_attempt_failed(const std::exception&, std::chrono::milliseconds) override { ++failed_attempts; }
};

/// The number of lines that report the end of consuming from a queue, with the consumer tag, the endpoint and the
/// cause.
long reports(const LogCapture& logged, const std::string& queue, const std::string& cause) {
    const std::regex line{"warning: no longer consuming from " + queue +
                          " \\(consumer \\S+\\) at amqp://kombu:\\*\\*@127\\.0\\.0\\.1:\\d+/tests: .*" + cause + ".*"};
    const std::vector<std::string> lines = logged.lines();
    return std::ranges::count_if(lines, [&](const std::string& text) { return std::regex_match(text, line); });
}

/// A loop that records, with an observer.
struct Recording : Messaging {
    Connection other{broker_url()};
    std::shared_ptr<ConsumerObserverCounts> observer = std::make_shared<ConsumerObserverCounts>();
    std::mutex mutex;
    std::vector<int> seen;

    Connection through(const TcpProxy& proxy, ConnectionOptions options = {}) const {
        options.port = proxy.port();
        return Connection{broker_url(), options};
    }
    void publish_to(const Queue& queue, int n) {
        Connection third{broker_url()};
        Producer{third}.publish(n, {.routing_key = queue.name()});
    }
    void publish(int n) { Producer{other}.publish(n, to_queue()); }
    std::function<void(Message&)> record() {
        return [this](Message& message) {
            const std::lock_guard lock{mutex};
            seen.push_back(message.payload().get<int>());
        };
    }
    bool has_seen(int n) {
        const std::lock_guard lock{mutex};
        return std::count(seen.begin(), seen.end(), n) != 0;
    }
};

}  // namespace

TEST_CASE_METHOD(Recording, "N5 N27 after a recovery the broker sees the same consumers as before",
                 "[rabbitmq][loop]") {
    const LogCapture logged;
    ConsumerLoop loop{
        connection,
        {topology.queue},
        {.consumer = {.prefetch_count = 17, .priority = 5, .arguments = {{"x-note", "n"}}}, .observer = observer}};
    loop.on_message(record());
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->consuming == 1; }));
    const std::string before = broker_view(topology.queue.name());
    UNSCOPED_INFO(before);
    CHECK_THAT(before, Contains("{17,true,") && Contains("x-priority") && Contains("x-note"));
    for (int i = 1; i <= 3; ++i) {
        close_connections();
        CHECK(eventually([&] { return observer->consuming == 1 + i; }));
        CHECK(eventually([&] { return broker_view(topology.queue.name()) == before; }));
        other.release();
        publish(i);
        CHECK(eventually([&] { return has_seen(i); }));
    }
    CHECK(observer->lost == 3);
    CHECK(reports(logged, topology.queue.name(), "CONNECTION_FORCED") == 3);
    background.stop();
    CHECK_THAT(broker_view(topology.queue.name()), !Contains("17,"));
}

TEST_CASE_METHOD(Recording, "N7 N27 a deleted queue is declared and consumed from again", "[rabbitmq][loop]") {
    const LogCapture logged;
    const Queue kept{unique("kept"), {.exclusive = true}};
    ConsumerLoop loop{connection, {topology.queue, kept}, {.observer = observer}};
    loop.on_message(record());
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->consuming == 1; }));
    for (int i = 1; i <= 3; ++i) {
        other.default_channel().queue_delete(topology.queue.name());
        const auto deleted = Clock::now();
        CHECK(eventually([&] { return observer->consuming == 1 + i; }));
        CHECK(Clock::now() - deleted < 5s);
        // The binding is back too.
        Producer{other}.publish(i, {.exchange = topology.exchange, .routing_key = "key", .mandatory = true});
        CHECK(eventually([&] { return has_seen(i); }));
    }
    background.stop();
    CHECK(observer->lost == 3);
    CHECK(reports(logged, topology.queue.name(), "the broker has cancelled the consumer") == 3);
}

TEST_CASE_METHOD(Recording, "N7 N27 a delivery acknowledgement timeout costs a channel, and the loop consumes again",
                 "[rabbitmq][loop]") {
    const LogCapture logged;
    in_broker(
        "application:set_env(rabbit, consumer_timeout, 500), application:set_env(rabbit, channel_tick_interval, 200)");
    ConsumerLoop loop{connection, {topology.queue}, {.observer = observer}};
    std::atomic<bool> slow{true};
    loop.on_message([&](Message& message) {
        if (message.payload() == 1 && slow)
            while (observer->lost == 0) std::this_thread::sleep_for(1ms);
        slow = false;
        const std::lock_guard lock{mutex};
        seen.push_back(message.payload().get<int>());
    });
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->consuming == 1; }));
    publish(1);
    CHECK(eventually([&] { return observer->consuming == 2; }, 20s));
    publish(2);
    CHECK(eventually([&] { return has_seen(2); }));
    background.stop();
    in_broker(
        "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, "
        "60000)");
    CHECK(loop.stats().late >= 1);
    CHECK(std::count(seen.begin(), seen.end(), 1) == 2);  // the late acknowledgement had no effect
    CHECK_THAT(loop.stats().last_error, Contains("406"));
    CHECK(observer->lost == 1);
    CHECK(reports(logged, topology.queue.name(), "406") == 1);
}

TEST_CASE_METHOD(Recording, "N8 N27 a queue that another connection still excludes is tried again",
                 "[rabbitmq][loop]") {
    const LogCapture logged;
    TcpProxy proxy{connection.port()};
    const Queue exclusive{unique("exclusive"), {.exclusive = true}};
    ConsumerLoop loop{through(proxy), {exclusive}, {.observer = observer}};
    loop.on_message(record());
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->consuming == 1; }));
    // Another connection takes the name while the loop cannot connect.
    proxy.set_down(true);
    CHECK(eventually([&] {
        try {
            other.channel().declare(exclusive);
            return true;
        } catch (const ChannelError&) {
            return false;
        }
    }));
    proxy.set_down(false);
    CHECK(eventually([&] { return loop.stats().last_error.find("405") != std::string::npos; }));
    const int failed = observer->failed_attempts;
    CHECK(eventually([&] { return observer->failed_attempts >= failed + 2; }));
    other.release();
    CHECK(eventually([&] { return observer->consuming == 2; }));
    publish_to(exclusive, 5);
    CHECK(eventually([&] { return has_seen(5); }));
    background.stop();
    CHECK(observer->lost == 1);
    CHECK(reports(logged, exclusive.name(), "") == 1);
    // Several attempts were refused.
    const std::vector<std::string> lines = logged.lines();
    CHECK(std::ranges::count_if(lines, [&](const std::string& line) {
              return line.starts_with("warning: cannot consume from " + exclusive.name() + " at amqp://") &&
                     line.find("405") != std::string::npos;
          }) == 1);
    CHECK_THAT(logged.text(), Contains("consuming again from " + exclusive.name() + " (consumer "));
}

TEST_CASE_METHOD(Recording, "N4 after RST each message comes again, marked, and no more than were prefetched",
                 "[rabbitmq][loop]") {
    TcpProxy proxy{connection.port()};
    const int count = 600, faults = 4;
    producer.publish(0, to_queue());
    {
        Batch batch = producer.batch();
        for (int n = 1; n < count; ++n) batch.publish(n, to_queue());
        batch.commit(30s);
    }
    std::map<int, int> calls;
    int unmarked = 0;
    ConsumerLoop loop{
        through(proxy), {topology.queue}, {.consumer = {.prefetch_count = 10}, .threads = 4, .observer = observer}};
    loop.on_message([&](Message& message) {
        const std::lock_guard lock{mutex};
        if (calls[message.payload().get<int>()]++ != 0 && !message.redelivered()) ++unmarked;
    });
    BackgroundLoop background{loop};
    const auto handled = [&] {
        const std::lock_guard lock{mutex};
        return static_cast<int>(calls.size());
    };
    for (int fault = 1; fault <= faults; ++fault) {
        REQUIRE(eventually([&] { return handled() >= std::min(count, fault * count / (faults + 1)); }));
        proxy.reset();
        CHECK(eventually([&] { return observer->consuming == 1 + fault; }));
    }
    CHECK(eventually([&] { return handled() == count; }));
    background.stop();
    int duplicates = 0;
    for (const auto& [n, times] : calls) duplicates += times - 1;
    CHECK(unmarked == 0);
    CHECK(duplicates <= 10 * faults);
    CHECK(other.simple_queue(topology.queue).qsize() == 0);
}

TEST_CASE_METHOD(Recording, "N22 a loop is as idle after many recoveries as before", "[rabbitmq][loop]") {
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 2, .observer = observer}};
    loop.on_message(record());
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->consuming == 1; }));
    const std::size_t threads = thread_count(), descriptors = descriptor_count();
    for (int i = 1; i <= 20; ++i) {
        close_connections();
        REQUIRE(eventually([&] { return observer->consuming == 1 + i; }));
    }
    CHECK(thread_count() == threads);
    CHECK(descriptor_count() == descriptors);
    const ProcessUse idle = ProcessUse::during(2s);
    CHECK(idle.processor <= 40ms);
    CHECK(idle.wakeups <= 60);
    background.stop();
}

TEST_CASE_METHOD(Recording, "N22 a loop is nearly idle while its broker is down", "[rabbitmq][loop]") {
    // Nobody listens on port 1.
    ConsumerLoop loop{Connection{"amqp://127.0.0.1:1"}, {topology.queue}, {.threads = 2, .observer = observer}};
    loop.on_message(record());
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->failed_attempts >= 3; }));
    const std::size_t threads = thread_count(), descriptors = descriptor_count();
    const ProcessUse down = ProcessUse::during(2s);
    CHECK(down.processor <= 40ms);
    CHECK(down.wakeups <= 60);
    CHECK(thread_count() == threads);
    CHECK(eventually([&] { return descriptor_count() <= descriptors; }));
    background.stop();
}

TEST_CASE_METHOD(Recording, "N24 a silent broker is noticed within two heartbeats", "[rabbitmq][loop][heartbeat]") {
    TcpProxy proxy{connection.port()};
    ConsumerLoop loop{through(proxy, {.heartbeat = 1s}), {topology.queue}, {.observer = observer}};
    loop.on_message(record());
    BackgroundLoop background{loop};
    REQUIRE(eventually([&] { return observer->consuming == 1; }));
    proxy.set_silent(true);
    const auto silent = Clock::now();
    CHECK(eventually([&] { return observer->lost == 1; }));
    CHECK(Clock::now() - silent < 4s);
    proxy.set_silent(false);
    proxy.reset();
    CHECK(eventually([&] { return observer->consuming == 2; }, 20s));
    publish(3);
    CHECK(eventually([&] { return has_seen(3); }));
    background.stop();
}

TEST_CASE_METHOD(Recording, "N16 a stop does not wait for a silent broker", "[rabbitmq][loop]") {
    TcpProxy proxy{connection.port()};
    ConsumerLoop loop{through(proxy), {topology.queue}, {.observer = observer}};
    loop.on_message(record());
    publish(1);
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    proxy.set_silent(true);
    const auto start = Clock::now();
    const StopReport report = background.stop();
    CHECK(report.in_time);
    CHECK(report.handled == 1);
    CHECK(Clock::now() - start < 3s);
    proxy.set_silent(false);
}

TEST_CASE_METHOD(Recording, "N19 a quorum queue is consumed from without any option", "[rabbitmq][consumer]") {
    const Queue quorum{unique("quorum"), {.queue_arguments = {{"x-queue-type", "quorum"}}}};
    Consumer consumer{connection, {quorum}, {.prefetch_count = 2}};
    std::vector<Message> held;
    consumer.on_message([&](Message& message) { held.push_back(std::move(message)); });
    consumer.consume();
    for (int n = 0; n < 4; ++n) Producer{other}.publish(n, {.routing_key = quorum.name()});
    while (held.size() < 2) REQUIRE(connection.drain_events(10s));
    CHECK_FALSE(connection.drain_events(100ms));
    held[0].ack();
    CHECK(connection.drain_events(10s));
    consumer.cancel();
    other.default_channel().queue_delete(quorum.name());
}

TEST_CASE_METHOD(Recording, "N18 with a single active consumer a stop does not let others overtake",
                 "[rabbitmq][loop]") {
    const Queue single{unique("single"), {.queue_arguments = {{"x-single-active-consumer", true}}}};
    connection.channel().declare(single);
    for (int n = 0; n < 200; ++n) Producer{other}.publish(n, {.routing_key = single.name()});
    std::mutex order;
    std::vector<int> handled;
    const auto handle = [&](Message& message) {
        const std::lock_guard lock{order};
        handled.push_back(message.payload().get<int>());
    };
    auto first = std::make_unique<ConsumerLoop>(connection, std::vector{single});
    auto second = std::make_unique<ConsumerLoop>(connection, std::vector{single});
    first->on_message(handle);
    second->on_message(handle);
    {
        BackgroundLoop one{*first};
        REQUIRE(eventually([&] { return first->stats().received > 0; }));
        BackgroundLoop two{*second};
        one.stop();
        CHECK(eventually([&] {
            const std::lock_guard lock{order};
            return handled.size() >= 200;
        }));
    }
    // The handlers of the first loop have ended before the second one began.
    const auto disorder = std::is_sorted_until(handled.begin(), handled.end()) - handled.begin();
    CAPTURE(disorder, first->stats().received, first->stats().requeued, handled);
    CHECK(std::is_sorted(handled.begin(), handled.end()));
    other.default_channel().queue_delete(single.name());
}

TEST_CASE_METHOD(Recording, "N15 a handler of many heartbeat intervals costs neither connection nor message",
                 "[rabbitmq][loop][heartbeat]") {
    Connection beating{broker_url(), {.heartbeat = 1s}};
    publish(1);
    {
        Consumer consumer{beating, {topology.queue}};
        int calls = 0;
        consumer.on_message([&](Message& message) {
            ++calls;
            std::this_thread::sleep_for(3500ms);
            message.ack();
        });
        consumer.consume();
        CHECK(beating.drain_events(10s));
        CHECK_FALSE(beating.drain_events(50ms));
        CHECK(calls == 1);
    }
    publish(2);
    ConsumerLoop loop{beating, {topology.queue}, {.observer = observer}};
    loop.on_message([&](Message&) { std::this_thread::sleep_for(3500ms); });
    BackgroundLoop background{loop};
    CHECK(eventually([&] { return loop.stats().acknowledged == 1; }));
    background.stop();
    CHECK(observer->lost == 0);
    CHECK(other.simple_queue(topology.queue).qsize() == 0);
}

TEST_CASE_METHOD(Recording, "a direct reply is received on the channel's pseudo-queue", "[rabbitmq][consumer]") {
    const Queue replies{"amq.rabbitmq.reply-to", {.no_declare = true}};
    Consumer consumer{connection, {replies}, {.no_ack = true}};
    Json reply;
    consumer.on_message([&](Message& message) { reply = message.payload(); });
    consumer.consume();
    CHECK(consumer.consuming_from("amq.rabbitmq.reply-to"));
    CHECK_FALSE(connection.drain_events(20ms));
}

namespace {

std::size_t resident_bytes() {
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    REQUIRE(file);
    unsigned long size = 0, resident = 0;
    REQUIRE(std::fscanf(file, "%lu %lu", &size, &resident) == 2);
    std::fclose(file);
    return resident * 4096;
}

}  // namespace

TEST_CASE_METHOD(Messaging, "N20 a slow handler in front of a long queue needs no more memory than its prefetch count",
                 "[rabbitmq][loop]") {
    constexpr int count = 60'000;
    const std::string body(1024, 'x');
    connection.channel().declare(topology.queue);
    for (int n = 0; n < count; n += 2000) {
        auto batch = producer.batch();
        for (int i = 0; i < 2000; ++i) batch.publish(body, {.exchange = topology.exchange, .routing_key = "key"});
        batch.commit();
    }
    for (const bool no_ack : {false, true}) {
        ConsumerLoop loop{connection, {topology.queue}, {.consumer = {.prefetch_count = 200, .no_ack = no_ack}}};
        std::atomic<int> handled{0};
        loop.on_message([&](Message&) {
            ++handled;
            std::this_thread::sleep_for(2ms);  // a slow handler, on purpose
        });
        const std::size_t before = resident_bytes();
        BackgroundLoop running{loop};
        CHECK(eventually([&] { return handled >= 300; }));
        CHECK(resident_bytes() < before + (16u << 20));
        running.stop();
    }
    connection.channel().queue_purge(topology.queue.name());
}
