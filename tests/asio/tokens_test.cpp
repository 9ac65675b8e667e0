// SPDX-License-Identifier: BSD-3-Clause
// Completion tokens, executors, allocators and errors, on the broker of KOMBU_TEST_URL.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/asio.hpp>
#include <kombu/celery.hpp>

#include <boost/asio.hpp>

#include <future>
#include <memory>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

struct Setup {
    Messaging messaging;
    Connection connection{broker_url()};
    pools::Connections connections{{.limit = 2}};
    pools::Producers producers{{.limit = 2, .connections = &connections}};
    PublishOptions to_queue = messaging.to_queue();
    asio::io_context io;

    template <class Work>
    void run(Work work) {
        std::exception_ptr failure;
        asio::co_spawn(io, std::move(work), [&](std::exception_ptr error) { failure = error; });
        io.run();
        io.restart();
        if (failure) std::rethrow_exception(failure);
    }
};

/// Counts its allocations: those that are `live`, and the `total`.
template <class T>
struct CountingAllocator {
    using value_type = T;
    explicit CountingAllocator(int& count) : live(&count) {}
    template <class U>
    CountingAllocator(const CountingAllocator<U>& other) : live(other.live), total(other.total) {}
    T* allocate(std::size_t count) {
        ++*live;
        ++*total;
        return std::allocator<T>{}.allocate(count);
    }
    void deallocate(T* memory, std::size_t count) {
        --*live;
        std::allocator<T>{}.deallocate(memory, count);
    }
    friend bool operator==(const CountingAllocator& a, const CountingAllocator& b) { return a.live == b.live; }
    int* live;
    std::shared_ptr<int> total = std::make_shared<int>(0);
};

}  // namespace

TEST_CASE("a coroutine acquires, publishes, gets and acknowledges", "[asio]") {
    Setup setup;
    setup.run([&]() -> asio::awaitable<void> {
        {
            auto producer =
                co_await setup.producers[setup.connection].async_acquire({.timeout = 10s}, asio::use_awaitable);
            co_await producer->async_publish(Json("json"), setup.to_queue, asio::use_awaitable);
            co_await producer->async_publish("text", setup.to_queue, asio::use_awaitable);
            co_await producer->async_publish(std::as_bytes(std::span{"b", 1}), setup.to_queue, asio::use_awaitable);
        }
        auto lease = co_await setup.connections[setup.connection].async_acquire(asio::use_awaitable);
        co_await lease->async_connect(asio::use_awaitable);
        CHECK(lease->connected());
        auto queue = co_await lease->async_simple_queue(setup.messaging.topology.queue, asio::use_awaitable);
        for (const Json& expected : {Json("json"), Json("text"), Json(Json::binary({'b'}))}) {
            Message message = co_await queue.async_get(soon, asio::use_awaitable);
            CHECK(message.payload() == expected);
            co_await message.async_ack(asio::use_awaitable);
            CHECK(message.acknowledged());
        }
        const PublishOptions plain;
        co_await queue.async_put(Json(1), plain, asio::use_awaitable);
        Message message = co_await queue.async_get(soon, asio::use_awaitable);
        co_await message.async_reject(true, asio::use_awaitable);
        Message again = co_await queue.async_get(soon, asio::use_awaitable);
        CHECK(again.redelivered());
        co_await again.async_ack(asio::use_awaitable);
        const GetOptions now{.block = false};
        CHECK_THROWS_AS(co_await queue.async_get(now, asio::use_awaitable), Empty);
        const GetOptions shortly{.timeout = 20ms};
        CHECK_THROWS_AS(co_await queue.async_get(shortly, asio::use_awaitable), Empty);
    });
}

TEST_CASE("a coroutine commits a batch, and gets failures as an exception or a code", "[asio][batch]") {
    Setup setup;
    setup.run([&]() -> asio::awaitable<void> {
        auto producer = co_await setup.producers[setup.connection].async_acquire({.timeout = 10s}, asio::use_awaitable);
        Batch batch = producer->batch();
        for (int i = 0; i < 10; ++i) batch.publish(i, setup.to_queue);
        co_await batch.async_commit(10s, asio::use_awaitable);
        CHECK(batch.empty());
        PublishOptions lost = setup.to_queue;
        lost.routing_key = "nobody";
        lost.mandatory = true;
        batch.publish(10, setup.to_queue);
        batch.publish(11, lost);
        CHECK_THROWS_AS(co_await batch.async_commit(asio::use_awaitable), BatchError);
        CHECK(batch.size() == 1);
        const auto [code] = co_await batch.async_commit(10s, asio::as_tuple(asio::use_awaitable));
        CHECK(code == errc::batch);
        CHECK(batch.size() == 1);
    });
    auto queue = setup.messaging.queue({.no_ack = true});
    for (int i = 0; i < 11; ++i) CHECK(queue.get(soon).payload() == i);
}

TEST_CASE("a coroutine sends a Celery task, and bad arguments are errors as any other", "[asio][celery]") {
    Setup setup;
    const std::string tasks = unique("celery.tasks");
    setup.run([&]() -> asio::awaitable<void> {
        auto producer = co_await setup.producers[setup.connection].async_acquire({.timeout = 10s}, asio::use_awaitable);
        const Json args = {1, 2}, none = Json::array(), nothing = Json::object();
        const celery::TaskOptions options{.queue = tasks}, bad{.queue = ""};
        const std::string id =
            co_await celery::async_send_task(*producer, "tasks.add", args, nothing, options, asio::use_awaitable);
        CHECK(id.size() == 36);
        CHECK_THROWS_AS(co_await celery::async_send_task(*producer, "t", none, nothing, bad, asio::use_awaitable),
                        ConfigurationError);
    });
    Connection connection{broker_url()};
    auto queue = connection.simple_queue(Queue{tasks, Exchange{tasks}, tasks}, {.no_ack = true});
    CHECK(queue.get(soon).payload()[0] == Json{1, 2});
    connection.default_channel().queue_delete(tasks);
    connection.default_channel().exchange_delete(tasks);
}

TEST_CASE("errors of Redis have their own error codes", "[asio]") {
    const auto code_of = [](const auto& error) { return to_error_code(std::make_exception_ptr(error)); };
    CHECK(code_of(AuthenticationError("")) == errc::authentication);
    CHECK(code_of(LoadingError("")) == errc::loading);
    CHECK(code_of(ReadOnlyError("")) == errc::read_only);
    CHECK(code_of(MovedError("")) == errc::moved);
    CHECK(code_of(OutOfMemoryError("")) == errc::out_of_memory);
    CHECK(code_of(BusyError("")) == errc::busy);
    CHECK(code_of(ConnectionError("")) == errc::connection);
    CHECK(code_of(ChannelError("")) == errc::channel);
    CHECK(code_of(AuthenticationError("")).message() == "authentication failed");
}

TEST_CASE("callbacks get error codes or exceptions by their signature, never within the initiating call", "[asio]") {
    Setup setup;
    auto& pool = setup.producers[setup.connection];
    int called = 0;
    Lease<Producer> first;
    pool.async_acquire({}, asio::bind_executor(setup.io, [&](error_code error, Lease<Producer> lease) {
                           CHECK_FALSE(error);
                           first = std::move(lease);
                           ++called;
                       }));
    CHECK(called == 0);
    setup.io.run();
    setup.io.restart();
    REQUIRE(called == 1);
    first->async_publish(Json(1), setup.to_queue, asio::bind_executor(setup.io, [&](std::exception_ptr error) {
                             CHECK(error == nullptr);
                             ++called;
                         }));
    CHECK(called == 1);
    setup.io.run();
    setup.io.restart();
    CHECK(called == 2);
    auto second = pool.acquire();
    pool.async_acquire({.timeout = 5ms}, asio::bind_executor(setup.io, [&](error_code error, Lease<Producer> lease) {
                           CHECK(error == errc::limit_exceeded);
                           CHECK(error.category().name() == std::string{"kombu"});
                           CHECK_FALSE(lease);
                           ++called;
                       }));
    pool.async_acquire({.timeout = 0s}, asio::bind_executor(setup.io, [&](std::exception_ptr error, Lease<Producer>) {
                           CHECK_THROWS_AS(std::rethrow_exception(error), LimitExceeded);
                           ++called;
                       }));
    setup.io.run();
    CHECK(called == 4);
}

TEST_CASE("futures, without any executor, complete and throw the library's exceptions", "[asio]") {
    Setup setup;
    auto& pool = setup.producers[setup.connection];
    std::future<Lease<Producer>> future = pool.async_acquire({}, asio::use_future);
    Lease<Producer> lease = future.get();
    lease->async_publish(Json(1), setup.to_queue, asio::use_future).get();
    auto other = pool.acquire();
    CHECK_THROWS_AS(pool.async_acquire({.timeout = 5ms}, asio::use_future).get(), LimitExceeded);
    auto queue = setup.messaging.queue();
    Message message = queue.async_get(soon, asio::use_future).get();
    message.async_ack(asio::use_future).get();
    // The type of the error parameter selects how errors are reported.
    CHECK(
        pool.async_acquire({.timeout = 1ms}, asio::use_future([](error_code error, Lease<Producer>) { return error; }))
            .get() == errc::limit_exceeded);
    CHECK(pool.async_acquire({.timeout = 1ms}, asio::use_future([](std::exception_ptr error, Lease<Producer>) {
                                 return error != nullptr;
                             }))
              .get());
    Connection nowhere{"amqp://127.0.0.1:1"};
    CHECK_THROWS_AS(nowhere.async_connect(asio::use_future).get(), ConnectionError);
}

TEST_CASE("a callback without an executor is called on the library's own thread", "[asio]") {
    Setup setup;
    // Asio's system_executor would call it on a thread of its own, without the library's.
    REQUIRE(eventually([] { return !kombu::detail::runtime().is_running(); }));
    std::promise<std::thread::id> thread;
    std::atomic<bool> is_running{false};
    setup.producers[setup.connection].async_acquire({}, [&](error_code, Lease<Producer>) {
        is_running = kombu::detail::runtime().is_running();
        thread.set_value(std::this_thread::get_id());
    });
    CHECK(thread.get_future().get() != std::this_thread::get_id());
    CHECK(is_running);
}

TEST_CASE("the library's own thread runs only while it is needed", "[asio]") {
    Setup setup;
    const auto is_running = [] { return kombu::detail::runtime().is_running(); };
    REQUIRE(eventually([&] { return !is_running(); }));
    setup.run([&]() -> asio::awaitable<void> {
        auto lease = co_await setup.producers[setup.connection].async_acquire({}, asio::use_awaitable);
        co_await lease->async_publish(Json(1), setup.to_queue, asio::use_awaitable);
    });
    CHECK_FALSE(is_running());
    for (int i = 0; i < 2; ++i) {
        CHECK(setup.producers[setup.connection].async_acquire({}, asio::use_future).get());
        CHECK(is_running());
        CHECK(eventually([&] { return !is_running(); }));
    }
}

TEST_CASE("as_tuple and redirect_error get error codes, in coroutines too", "[asio]") {
    Setup setup;
    setup.run([&]() -> asio::awaitable<void> {
        auto& pool = setup.producers[setup.connection];
        auto [none, lease] = co_await pool.async_acquire({}, asio::as_tuple(asio::use_awaitable));
        static_assert(std::is_same_v<decltype(none), error_code>);
        CHECK_FALSE(none);
        auto blocking = pool.acquire();
        auto [full, empty] = co_await pool.async_acquire({.timeout = 1ms}, asio::as_tuple(asio::use_awaitable));
        CHECK(full == errc::limit_exceeded);
        CHECK_FALSE(empty);
        error_code refused;
        const PublishOptions nowhere{.exchange = Exchange{unique("no.such.exchange")}, .routing_key = "key"};
        const Json body = 1;
        co_await lease->async_publish(body, nowhere, asio::redirect_error(asio::use_awaitable, refused));
        CHECK(refused == errc::channel);
        PublishOptions unknown = setup.to_queue;
        unknown.serializer = "no-such";
        co_await lease->async_publish(body, unknown, asio::redirect_error(asio::use_awaitable, refused));
        CHECK(refused == errc::serializer);
    });
}

TEST_CASE("one deadline covers a producer and its connection", "[asio]") {
    Setup setup;
    auto one = setup.connections[setup.connection].acquire(), other = setup.connections[setup.connection].acquire();
    const auto start = Clock::now();
    CHECK_THROWS_AS(setup.producers[setup.connection].async_acquire({.timeout = 50ms}, asio::use_future).get(),
                    ConnectionLimitExceeded);
    CHECK(Clock::now() - start >= 50ms);
    CHECK(Clock::now() - start < 5s);
    CHECK(setup.producers[setup.connection].stats().in_use == 0);
}

TEST_CASE("an adapted token still selects how errors are reported", "[asio]") {
    Setup setup;
    setup.run([&]() -> asio::awaitable<void> {
        auto& pool = setup.producers[setup.connection];
        auto [lease, number] = co_await pool.async_acquire({}, asio::append(asio::use_awaitable, 7));
        CHECK(lease);
        CHECK(number == 7);
        auto other = pool.acquire();
        CHECK_THROWS_AS(co_await pool.async_acquire({.timeout = 1ms}, asio::append(asio::use_awaitable, 7)),
                        LimitExceeded);
        CHECK_THROWS_AS(co_await pool.async_acquire({.timeout = 1ms}, asio::consign(asio::use_awaitable, 7)),
                        LimitExceeded);
    });
}

TEST_CASE("deferred operations take their final token when they start", "[asio]") {
    Setup setup;
    setup.run([&]() -> asio::awaitable<void> {
        auto& pool = setup.producers[setup.connection];
        auto acquire = pool.async_acquire({.timeout = 1ms}, asio::deferred);
        CHECK(pool.in_use() == 0);
        Lease<Producer> first = co_await acquire(asio::use_awaitable);
        Lease<Producer> second = co_await std::move(acquire);
        auto publish = first->async_publish(Json(1), setup.to_queue, asio::deferred);
        co_await std::move(publish)(asio::use_awaitable);
        auto third = pool.async_acquire({.timeout = 1ms}, asio::deferred);
        auto [error, none] = co_await third(asio::as_tuple(asio::use_awaitable));
        CHECK(error == errc::limit_exceeded);
        CHECK_THROWS_AS(co_await third(asio::use_awaitable), LimitExceeded);
        try {
            co_await std::move(third);
            FAIL("acquired beyond the limit");
        } catch (const boost::system::system_error& thrown) {
            CHECK(thrown.code() == errc::limit_exceeded);
        }
    });
}

TEST_CASE("the handler's executor and allocator are used, and its memory is freed before the call", "[asio]") {
    Setup setup;
    auto strand = asio::make_strand(setup.io);
    int live = 0;
    const CountingAllocator<int> allocator{live};
    auto lease = setup.producers[setup.connection].acquire();
    bool called = false;
    lease->async_publish(Json(1), setup.to_queue,
                         asio::bind_allocator(allocator, asio::bind_executor(strand, [&](error_code error) {
                                                  CHECK_FALSE(error);
                                                  CHECK(strand.running_in_this_thread());
                                                  CHECK(live == 0);
                                                  called = true;
                                              })));
    setup.io.run();
    CHECK(called);
    CHECK(*allocator.total > 0);
    CHECK(live == 0);
}

TEST_CASE("two operations at once on one connection are an error, and releasing a lease ends its operation", "[asio]") {
    Setup setup;
    auto& pool = setup.connections[setup.connection];
    auto lease = pool.acquire();
    auto queue = lease->simple_queue(setup.messaging.topology.queue);
    std::optional<error_code> waiting, second;
    queue.async_get({}, asio::bind_executor(setup.io, [&](error_code error, Message) { waiting = error; }));
    setup.io.poll();
    queue.async_get({}, asio::bind_executor(setup.io, [&](error_code error, Message) { second = error; }));
    setup.io.poll();
    REQUIRE(second.has_value());
    CHECK(*second == errc::lease);
    REQUIRE_FALSE(waiting.has_value());
    lease.release();
    setup.io.restart();
    setup.io.run();
    REQUIRE(waiting.has_value());
    CHECK(*waiting == errc::connection);
    auto next = pool.acquire();
    CHECK(next->simple_queue(setup.messaging.topology.queue).qsize() == 0);
}

TEST_CASE("a context that is destroyed first drops its operations, and the pool stays consistent", "[asio]") {
    Setup setup;
    auto& pool = setup.connections[setup.connection];
    auto held = pool.acquire();
    {
        asio::io_context doomed;
        auto wait = [&]() -> asio::awaitable<void> {
            auto lease = co_await pool.async_acquire(asio::use_awaitable);
            auto queue = co_await lease->async_simple_queue(setup.messaging.topology.queue, asio::use_awaitable);
            (void)co_await queue.async_get(asio::use_awaitable);
        };
        for (int i = 0; i < 4; ++i) asio::co_spawn(doomed, wait(), asio::detached);
        doomed.run_for(100ms);
        CHECK(pool.stats().in_use == 2);
        CHECK(pool.stats().waiting == 3);
    }
    CHECK(pool.stats().in_use == 1);
    CHECK(pool.stats().waiting == 0);
    auto other = pool.acquire();
    CHECK(other->simple_queue(setup.messaging.topology.queue).qsize() == 0);
}
