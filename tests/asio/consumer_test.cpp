// SPDX-License-Identifier: BSD-3-Clause
// Consumers and loops with Asio, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/asio.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <map>
#include <random>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

asio::awaitable<void> receive(Consumer& consumer, std::size_t count, std::vector<Json>& seen) {
    while (seen.size() < count) {
        Message message = co_await consumer.async_receive(asio::use_awaitable);
        seen.push_back(message.payload());
        co_await message.async_ack(asio::use_awaitable);
    }
    co_await consumer.async_cancel(asio::use_awaitable);
}

}  // namespace

TEST_CASE_METHOD(Messaging, "N25 a coroutine receives the messages of a consumer", "[asio][consumer]") {
    for (int n = 0; n < 20; ++n) producer.publish(n, to_queue());
    Consumer consumer{connection, {topology.queue}, {.prefetch_count = 5}};
    std::vector<Json> seen;
    asio::io_context context;
    std::exception_ptr error;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            co_await consumer.async_consume(asio::use_awaitable);
            co_await receive(consumer, 20, seen);
        },
        [&](std::exception_ptr thrown) { error = thrown; });
    context.run();
    if (error) std::rethrow_exception(error);
    REQUIRE(seen.size() == 20);
    for (int n = 0; n < 20; ++n) CHECK(seen[static_cast<std::size_t>(n)] == n);
    CHECK_FALSE(consumer.consuming_from(topology.queue.name()));
    CHECK(queue().qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "N25 a cancelled receive loses nothing, and leaves the connection open",
                 "[asio][consumer]") {
    const int count = 300;
    Consumer consumer{connection, {topology.queue}, {.prefetch_count = 10}};
    consumer.on_message([](Message&) {});
    consumer.consume();
    std::map<int, int> seen;
    int cancelled = 0;
    asio::io_context context;
    std::mt19937 random{7};
    std::thread sender;  // starts after the first cancellation
    const auto send = [&] {
        Connection other{broker_url()};
        Producer to{other};
        for (int n = 0; n < count; ++n) to.publish(n, to_queue());
    };
    asio::steady_timer timer{context};
    std::function<void()> next = [&] {
        if (static_cast<int>(seen.size()) == count) return;
        auto signal = std::make_shared<asio::cancellation_signal>();
        const auto on_received = [&, signal](std::exception_ptr error, Message message) {
            timer.cancel();
            if (error) {
                if (++cancelled == 1) sender = std::thread{send};
                CHECK_THROWS_AS(std::rethrow_exception(error), Cancelled);
            } else {
                ++seen[message.payload().get<int>()];
                message.ack();
            }
            asio::post(context, next);
        };
        consumer.async_receive(
            asio::bind_executor(context.get_executor(), asio::bind_cancellation_slot(signal->slot(), on_received)));
        timer.expires_after(std::chrono::microseconds{random() % 300});
        timer.async_wait([signal](boost::system::error_code code) {
            if (!code) signal->emit(asio::cancellation_type::total);
        });
    };
    asio::post(context, next);
    context.run_for(60s);
    if (sender.joinable()) sender.join();
    CAPTURE(cancelled);
    CHECK(static_cast<int>(seen.size()) == count);
    for (const auto& [n, times] : seen) CHECK(times == 1);
    CAPTURE(cancelled);
    CHECK(cancelled > 0);
    CHECK(connection.connected());
    consumer.cancel();
    CHECK(queue().qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "N25 a loop runs on an io_context until it is stopped", "[asio][loop]") {
    for (int n = 0; n < 50; ++n) producer.publish(n, to_queue());
    ConsumerLoop loop{connection, {topology.queue}, {.threads = 2}};
    std::atomic<int> handled{0};
    std::stop_source stop;
    loop.on_message([&](Message&) {
        if (++handled == 50) stop.request_stop();
    });
    asio::io_context context;
    StopReport report;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> { report = co_await loop.async_run(stop.get_token(), asio::use_awaitable); },
        asio::detached);
    context.run();
    CHECK(handled == 50);
    CHECK(report.handled == 50);
    CHECK(report.in_time);
    CHECK(queue().qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "N25 an io_context that is destroyed with receives pending leaks nothing",
                 "[asio][consumer]") {
    Consumer consumer{connection, {topology.queue}};
    consumer.on_message([](Message&) {});
    consumer.consume();
    {
        asio::io_context context;
        std::vector<Json> seen;
        asio::co_spawn(context, receive(consumer, 1, seen), asio::detached);
        context.run_for(20ms);
    }
    // What arrives afterwards is received by the next call.
    producer.publish("later", to_queue());
    CHECK(connection.drain_events(10s));
}
