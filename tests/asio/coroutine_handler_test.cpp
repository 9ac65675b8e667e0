// SPDX-License-Identifier: BSD-3-Clause
// Loops whose handlers are coroutines, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/asio.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <map>
#include <set>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

asio::awaitable<void> pause(std::chrono::milliseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, time};
    co_await timer.async_wait(asio::use_awaitable);
}

struct Order {
    int number = 0;
    std::string text{};
    friend void to_json(Json& json, const Order& order) { json = {{"number", order.number}, {"text", order.text}}; }
    friend void from_json(const Json& json, Order& order) {
        json.at("number").get_to(order.number);
        json.at("text").get_to(order.text);
    }
};

/// Runs a loop on an io_context until it is stopped, and the context has nothing left to do.
StopReport run_on(asio::io_context& context, ConsumerLoop& loop, const std::stop_source& stop) {
    std::optional<StopReport> report;
    std::exception_ptr error;
    loop.async_run(stop.get_token(), asio::bind_executor(context, [&](std::exception_ptr thrown, StopReport ended) {
                       error = thrown;
                       report = ended;
                   }));
    context.run();
    if (error) std::rethrow_exception(error);
    REQUIRE(report);
    return *report;
}

}  // namespace

TEST_CASE_METHOD(Messaging, "handlers that are coroutines run at once on the executor of async_run", "[asio][loop]") {
    for (int n = 0; n < 40; ++n) producer.publish(n, to_queue());
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 8}};
    asio::io_context context{1};
    std::stop_source stop;
    // All on one thread: no atomics.
    int running = 0, most = 0, handled = 0;
    std::set<std::thread::id> threads;
    loop.on_message([&](Message&) -> asio::awaitable<void> {
        threads.insert(std::this_thread::get_id());
        most = std::max(most, ++running);
        // Until the others have begun as well.
        for (int i = 0; i < 1000 && most < 8; ++i) co_await pause(1ms);
        --running;
        if (++handled == 40) stop.request_stop();
    });
    const StopReport report = run_on(context, loop, stop);
    CHECK(most == 8);
    CHECK(threads == std::set{std::this_thread::get_id()});
    CHECK(report.handled == 40);
    CHECK(report.in_time);
    CHECK(loop.stats().acknowledged == 40);
    CHECK(queue().qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "a coroutine's payload and message exist until it ends, and its outcome counts",
                 "[asio][loop]") {
    producer.publish(Order{1, "kept"}, to_queue());
    producer.publish(Order{2, "thrown"}, to_queue());
    producer.publish(Order{3, "rejected"}, to_queue());
    producer.publish("no order", to_queue("json"));
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 4}};
    asio::io_context context{1};
    std::stop_source stop;
    std::map<int, std::string> seen;
    loop.on_message([&](const Order& order, Message& message) -> asio::awaitable<Outcome> {
        co_await pause(5ms);
        seen[order.number] = order.text;
        if (order.text == "thrown") throw std::runtime_error("as asked");
        co_await pause(5ms);
        co_return message.payload()["text"] == "kept" ? Outcome::acknowledge : Outcome::reject;
    });
    std::thread watch{[&] {
        eventually([&] { return loop.stats().acknowledged + loop.stats().rejected == 4; });
        stop.request_stop();
    }};
    run_on(context, loop, stop);
    watch.join();
    CHECK(seen == std::map<int, std::string>{{1, "kept"}, {2, "thrown"}, {3, "rejected"}});
    CHECK(loop.stats().acknowledged == 1);
    CHECK(loop.stats().rejected == 3);
    CHECK(loop.stats().failed == 2);  // what was thrown, and the payload that is no order
}

TEST_CASE_METHOD(Messaging, "a coroutine of a loop that run() drives runs on the library's thread", "[asio][loop]") {
    for (int n = 0; n < 5; ++n) producer.publish(n, to_queue());
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 2}};
    std::stop_source stop;
    std::atomic<int> handled{0};
    std::atomic<bool> on_this_thread{false};
    const auto here = std::this_thread::get_id();
    loop.on_message([&](Message& message) -> asio::awaitable<void> {
        co_await pause(1ms);
        if (std::this_thread::get_id() == here) on_this_thread = true;
        co_await message.async_ack(asio::use_awaitable);
        if (++handled == 5) stop.request_stop();
    });
    CHECK(loop.run(stop.get_token()).handled == 5);
    CHECK_FALSE(on_this_thread);
    CHECK(queue().qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "N16 a stop waits for coroutines, and asks them to end after the drain_timeout",
                 "[asio][loop]") {
    for (int n = 0; n < 3; ++n) producer.publish(n, to_queue());
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 3, .drain_timeout = 50ms}};
    asio::io_context context{1};
    std::stop_source stop;
    int begun = 0, asked = 0;
    loop.on_message([&](Message&, std::stop_token ends) -> asio::awaitable<void> {
        if (++begun == 3) stop.request_stop();
        while (!ends.stop_requested()) co_await pause(1ms);
        ++asked;
    });
    const StopReport report = run_on(context, loop, stop);
    CHECK(asked == 3);
    CHECK_FALSE(report.in_time);
    CHECK(report.abandoned == 3);
    CHECK(eventually([&] { return queue().qsize() == 3; }));
}

TEST_CASE_METHOD(Messaging, "an io_context that is destroyed with handlers pending leaks nothing", "[asio][loop]") {
    for (int n = 0; n < 4; ++n) producer.publish(n, to_queue());
    int begun = 0;
    {
        ConsumerLoop loop{connection, {topology.queue}, {.threads = 4}};
        asio::io_context context{1};
        loop.on_message([&](Message&) -> asio::awaitable<void> {
            ++begun;
            co_await pause(1h);
        });
        loop.async_run(std::stop_token{}, asio::bind_executor(context, [](std::exception_ptr, StopReport) {}));
        CHECK(eventually([&] { return context.run_one_for(10ms), begun == 4; }));
    }
    CHECK(eventually([&] { return queue().qsize() == 4; }));
}

TEST_CASE_METHOD(Messaging, "each run has its own executor, and one that is refused changes nothing", "[asio][loop]") {
    ConsumerLoop loop{connection, {topology.queue}};
    std::thread::id ran_on{};
    std::stop_source stop;
    loop.on_message([&](Message&) -> asio::awaitable<void> {
        ran_on = std::this_thread::get_id();
        stop.request_stop();
        co_return;
    });
    asio::io_context context{1}, other{1};
    for (int n = 0; n < 2; ++n) {
        producer.publish(n, to_queue());
        stop = std::stop_source{};
        std::exception_ptr refused;
        asio::post(context, [&] {
            loop.async_run(std::stop_token{}, asio::bind_executor(other, [&](std::exception_ptr thrown, StopReport) {
                               refused = thrown;
                           }));
        });
        context.restart();
        CHECK(run_on(context, loop, stop).handled == 1);
        CHECK(ran_on == std::this_thread::get_id());
        other.restart();
        other.run();
        CHECK_THROWS_AS(std::rethrow_exception(refused), LeaseError);
    }
    producer.publish(2, to_queue());
    stop = std::stop_source{};
    CHECK(loop.run(stop.get_token()).handled == 1);
    CHECK(ran_on != std::this_thread::get_id());
}

TEST_CASE_METHOD(Messaging, "a coroutine that is destroyed before it ends gives its message back", "[asio][loop]") {
    producer.publish(1, to_queue());
    ConsumerLoop loop{connection, {topology.queue}, {.drain_timeout = 10s}};
    asio::io_context context{1};
    std::stop_source stop;
    int begun = 0;
    loop.on_message([&](Message&) -> asio::awaitable<void> {
        if (++begun == 2) {
            stop.request_stop();
            co_return;
        }
        // An operation that drops its handler, as one does whose context is destroyed.
        const auto drop = [&](auto handler) {
            auto held = std::make_shared<decltype(handler)>(std::move(handler));
            asio::post(context, [held = std::move(held)]() mutable { held.reset(); });
        };
        co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(drop, asio::use_awaitable);
    });
    const StopReport report = run_on(context, loop, stop);
    CHECK(begun == 2);
    CHECK(report.in_time);
    CHECK(loop.stats().dropped_unsettled == 1);
    CHECK(queue().qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "an observer that throws costs no more than its message's call", "[asio][loop]") {
    struct Throwing : ConsumerObserver {
        int calls = 0;
        std::shared_ptr<void> on_delivery(const Message&, const std::string&) override {
            if (++calls == 1) throw std::runtime_error("against the rules");
            return nullptr;
        }
    };
    for (int n = 0; n < 2; ++n) producer.publish(n, to_queue());
    const auto observer = std::make_shared<Throwing>();
    ConsumerLoop loop{connection, {topology.queue}, {.observer = observer}};
    asio::io_context context{1};
    std::stop_source stop;
    loop.on_message([&](Message&) -> asio::awaitable<void> {
        stop.request_stop();
        co_return;
    });
    run_on(context, loop, stop);
    CHECK(loop.stats().rejected == 1);
    CHECK(loop.stats().acknowledged == 1);
}
