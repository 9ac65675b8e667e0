// SPDX-License-Identifier: BSD-3-Clause
// Operations and threads that wait in one pool's queue.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/scripted_factory.hpp"

#include <kombu/asio.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

struct PoolFixture {
    explicit PoolFixture(PoolOptions options) : pool(factory.hooks(), std::move(options)) {}
    ScriptedFactory factory;
    ResourcePool<Thing> pool;
    asio::io_context io;

    auto on_context(auto handler) { return asio::bind_executor(io, std::move(handler)); }
    void run() {
        io.run();
        io.restart();
    }
};

}  // namespace

TEST_CASE("operations and threads wait in one queue, first come first served", "[asio][pool]") {
    PoolFixture setup{{.limit = 1}};
    auto& pool = setup.pool;
    std::mutex mutex;
    std::vector<int> order;
    const auto served = [&](int who) {
        std::lock_guard lock{mutex};
        order.push_back(who);
    };
    auto held = pool.acquire();
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&, i] {
            auto lease = pool.acquire({.block = true, .timeout = 10s});
            served(2 * i);
        });
        REQUIRE(eventually([&] { return pool.stats().waiting == static_cast<std::size_t>(2 * i + 1); }));
        pool.async_acquire({.timeout = 10s}, setup.on_context([&, i](error_code error, Lease<Thing> lease) {
            CHECK(lease);
            CHECK_FALSE(error);
            served(2 * i + 1);
        }));
        REQUIRE(pool.stats().waiting == static_cast<std::size_t>(2 * i + 2));
    }
    // Until the barging window of all waiters has passed.
    CHECK_THROWS_AS(pool.async_acquire({.timeout = 5ms}, asio::use_future).get(), LimitExceeded);
    held.release();
    setup.run();
    for (auto& thread : threads) thread.join();
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5});
    CHECK(pool.stats().created == 1);
}

TEST_CASE("what an operation acquires obeys the pool's options", "[asio][pool]") {
    PoolFixture setup{{.limit = 1, .max_waiters = 1, .name = "things"}};
    auto& pool = setup.pool;
    std::vector<std::string> errors;
    const auto record = [&](std::exception_ptr error, Lease<Thing>) {
        try {
            if (error) std::rethrow_exception(error);
            errors.push_back("none");
        } catch (const Error& e) {
            errors.push_back(e.what());
        }
    };
    auto held = pool.acquire();
    pool.async_acquire({.timeout = 10s}, setup.on_context(record));
    pool.async_acquire({.timeout = 10s}, setup.on_context(record));
    setup.io.poll();
    REQUIRE(errors.size() == 1);
    CHECK_THAT(errors[0], Catch::Matchers::Contains("things") && Catch::Matchers::Contains("limit"));
    pool.close();
    setup.io.restart();
    setup.run();
    REQUIRE(errors.size() == 2);
    CHECK_THAT(errors[1], Catch::Matchers::Contains("closed"));
}

TEST_CASE("a create error and a dead resource are handled as for threads", "[asio][pool]") {
    PoolFixture setup{{.limit = 1}};
    auto& pool = setup.pool;
    setup.factory.on_create(ScriptedFactory::fails("no luck"));
    CHECK_THROWS_WITH(pool.async_acquire({}, asio::use_future).get(), "no luck");
    CHECK(pool.stats().connecting == 0);
    {
        auto lease = pool.async_acquire({}, asio::use_future).get();
        CHECK(lease->id == 1);
        lease->dead = true;
    }
    CHECK(pool.async_acquire({}, asio::use_future).get()->id == 2);
}

TEST_CASE("a preparation that waits holds its slot, and its failure leaves the resource in the pool", "[asio][pool]") {
    ScriptedFactory factory;
    auto hooks = factory.plain_hooks();
    enum class Outcome { live, die, fail } outcome = Outcome::live;
    hooks.async_prepare =
        kombu::async::prepare_with<Thing>([&](Thing&, const Acquisition&) -> kombu::async::Operation<bool> {
            co_await kombu::async::Wait{.until = Deadline::after(1ms)};
            if (outcome == Outcome::fail) throw OperationalError("not today");
            co_return std::exchange(outcome, Outcome::live) != Outcome::die;
        });
    ResourcePool<Thing> pool{hooks, {.limit = 1}};
    CHECK(pool.async_acquire({}, asio::use_future).get()->id == 1);
    outcome = Outcome::fail;
    CHECK_THROWS_WITH(pool.async_acquire({}, asio::use_future).get(), "not today");
    CHECK(pool.stats().idle == 1);
    outcome = Outcome::die;
    CHECK(pool.async_acquire({}, asio::use_future).get()->id == 2);
    CHECK(pool.stats().created == 2);
    CHECK(pool.stats().closed == 1);
}

TEST_CASE("a cancelled operation leaves the queue, and a slot granted to it goes to the next waiter", "[asio][pool]") {
    PoolFixture setup{{.limit = 1}};
    auto& pool = setup.pool;
    auto held = pool.acquire();
    for (const auto type :
         {asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total}) {
        asio::cancellation_signal signal;
        std::optional<error_code> ended;
        pool.async_acquire(
            {}, asio::bind_cancellation_slot(signal.slot(),
                                             setup.on_context([&](error_code error, Lease<Thing>) { ended = error; })));
        REQUIRE(pool.stats().waiting == 1);
        signal.emit(type);
        CHECK_FALSE(ended.has_value());  // not within emit()
        setup.run();
        REQUIRE(ended.has_value());
        CHECK(*ended == asio::error::operation_aborted);
        CHECK(pool.stats().waiting == 0);
    }
    // Woken, and cancelled before it could retry.
    asio::cancellation_signal signal;
    std::optional<error_code> first, second;
    pool.async_acquire(
        {}, asio::bind_cancellation_slot(signal.slot(),
                                         setup.on_context([&](error_code error, Lease<Thing>) { first = error; })));
    pool.async_acquire({}, setup.on_context([&](error_code error, Lease<Thing>) { second = error; }));
    held.release();
    signal.emit(asio::cancellation_type::terminal);
    setup.run();
    CHECK(first == error_code{asio::error::operation_aborted});
    CHECK(second == error_code{});
    CHECK(pool.stats().in_use == 0);
}

TEST_CASE("an operation that was handed a resource before a reset gets a new one", "[asio][pool]") {
    ScriptedFactory factory;
    ResourcePool<Thing> pool{factory.plain_hooks(), {.limit = 1}};
    asio::io_context io;
    auto held = pool.acquire();
    int id = 0;
    pool.async_acquire({.timeout = 10s}, asio::bind_executor(io, [&](error_code, Lease<Thing> lease) {
                           if (lease) id = lease->id;
                       }));
    held.release();
    pool.reset();
    io.run();
    CHECK(id == 2);
}

TEST_CASE("a cancellation within || with a timer ends the wait", "[asio][pool]") {
    using namespace asio::experimental::awaitable_operators;
    PoolFixture setup{{.limit = 1}};
    auto held = setup.pool.acquire();
    bool timed_out = false;
    asio::co_spawn(
        setup.io,
        [&]() -> asio::awaitable<void> {
            asio::steady_timer timer{setup.io, 1ms};
            const auto first = co_await (setup.pool.async_acquire({.timeout = 10s}, asio::use_awaitable) ||
                                         timer.async_wait(asio::use_awaitable));
            timed_out = first.index() == 1;
        },
        asio::detached);
    setup.run();
    CHECK(timed_out);
    CHECK(setup.pool.stats().waiting == 0);
}

TEST_CASE("many threads run one context while operations and threads share a pool", "[asio][stress]") {
    PoolFixture setup{{.limit = 3}};
    auto& pool = setup.pool;
    constexpr int rounds = 2000;
    std::atomic<int> done{0}, wrong{0};
    const auto use = [&](Lease<Thing>& lease) {
        if (lease->users.fetch_add(1) != 0) ++wrong;
        if (pool.stats().in_use > 3) ++wrong;
        lease->users.fetch_sub(1);
        ++done;
    };
    for (int i = 0; i < 20; ++i)
        asio::co_spawn(
            asio::make_strand(setup.io),
            [&]() -> asio::awaitable<void> {
                for (int round = 0; round < rounds / 20; ++round) {
                    auto lease = co_await pool.async_acquire({.timeout = 60s}, asio::use_awaitable);
                    co_await asio::post(asio::use_awaitable);
                    use(lease);
                }
            },
            [&](std::exception_ptr error) { wrong += error ? 1 : 0; });
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { setup.io.run(); });
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < rounds / 2; ++round) {
                auto lease = pool.acquire({.block = true, .timeout = 60s});
                use(lease);
            }
        });
    for (auto& thread : threads) thread.join();
    CHECK(done == 2 * rounds);
    CHECK(wrong == 0);
    CHECK(setup.factory.most_live() <= 3);
    CHECK(pool.stats().in_use == 0);
    CHECK(pool.stats().waiting == 0);
}

TEST_CASE("a busy strand does not delay the deadlines of other operations", "[asio][pool]") {
    PoolFixture setup{{.limit = 1}};
    auto& pool = setup.pool;
    auto held = pool.acquire();
    auto strand = asio::make_strand(setup.io);
    std::promise<void> started, go_on;
    std::optional<error_code> on_strand;
    // The first wait in this context, so that shared state would be created with the executor of this strand.
    pool.async_acquire({.timeout = 10ms},
                       asio::bind_executor(strand, [&](error_code error, Lease<Thing>) { on_strand = error; }));
    asio::post(strand, [&] {
        started.set_value();
        go_on.get_future().wait();
    });
    std::promise<error_code> elsewhere;
    std::thread first{[&] { setup.io.run(); }}, second{[&] { setup.io.run(); }};
    started.get_future().wait();
    pool.async_acquire({.timeout = 10ms},
                       setup.on_context([&](error_code error, Lease<Thing>) { elsewhere.set_value(error); }));
    auto ended = elsewhere.get_future();
    const bool in_time = ended.wait_for(10s) == std::future_status::ready;
    CHECK(in_time);
    CHECK_FALSE(on_strand.has_value());
    go_on.set_value();
    first.join();
    second.join();
    CHECK(ended.get() == errc::limit_exceeded);
    CHECK(on_strand == make_error_code(errc::limit_exceeded));
}

TEST_CASE("an executor that counts work does not keep its context running after the operation", "[asio][pool]") {
    PoolFixture setup{{.limit = 1}};
    auto held = setup.pool.acquire();
    bool called = false;
    {
        const auto tracked = asio::require(setup.io.get_executor(), asio::execution::outstanding_work.tracked);
        setup.pool.async_acquire({.timeout = 1ms},
                                 asio::bind_executor(tracked, [&](error_code, Lease<Thing>) { called = true; }));
    }
    setup.io.run();  // returns
    CHECK(called);
}

TEST_CASE("operations that wait for long do not wake the event loop", "[asio][pool]") {
    PoolFixture setup{{.limit = 1}};
    auto& pool = setup.pool;
    auto held = pool.acquire();
    constexpr int waiting = 1000;
    int left = 2, cancelled = 0;
    asio::cancellation_signal cancel[waiting];
    // Their deadlines are in all places of the timer wheel.
    for (int i = 0; i < waiting; ++i)
        pool.async_acquire({.timeout = 60s + std::chrono::milliseconds{i}},
                           setup.on_context(asio::bind_cancellation_slot(
                               cancel[i].slot(), [&](error_code, Lease<Thing>) { ++cancelled; })));
    for (const auto timeout : {10ms, 300ms})
        pool.async_acquire({.timeout = timeout}, setup.on_context([&](error_code, Lease<Thing>) { --left; }));
    setup.io.poll();
    int handlers = 0;
    while (left != 0) handlers += static_cast<int>(setup.io.run_one());
    CHECK(handlers < 30);
    for (auto& signal : cancel) signal.emit(asio::cancellation_type::total);
    setup.run();
    CHECK(cancelled == waiting);
}

TEST_CASE("a caller whose clock was read before it queued behind an idle loop's operation is served", "[asio][pool]") {
    ScriptedFactory factory;
    std::function<void()> in_prepare;
    auto hooks = factory.hooks();
    hooks.prepare = [&](Thing&, const Acquisition&) {
        if (in_prepare) std::exchange(in_prepare, nullptr)();
        return true;
    };
    const auto observer = std::make_shared<PoolObserver>();  // so that the clock is read first
    ResourcePool<Thing> pool{std::move(hooks), {.limit = 2, .observer = observer}};
    asio::io_context io;
    pool.acquire().release();
    std::vector<Lease<Thing>> held;
    bool served = false;
    in_prepare = [&] {
        std::this_thread::sleep_for(1ms);  // the window of the caller's own time passes
        pool.reset();                      // its slot is orphaned, so that it queues
        for (int i = 0; i < 2; ++i) held.push_back(pool.acquire());
        // From here on releases take the lock: to switch to that may take longer than a window.
        CHECK_THROWS_AS(pool.acquire({.block = true, .timeout = 1ms}), LimitExceeded);
        pool.async_acquire({.timeout = 60s}, asio::bind_executor(io, [&](error_code, Lease<Thing>) { served = true; }));
    };
    std::jthread releaser{[&] {
        // Within the window of the operation, so that both slots stay idle unless the caller serves.
        for (const Deadline end = Deadline::after(30s); pool.stats().waiting != 2 && !end.expired();) {
        }
        held.clear();
    }};
    CHECK(pool.acquire({.block = true, .timeout = 30s}));
    releaser.join();
    io.run();
    CHECK(served);
}
