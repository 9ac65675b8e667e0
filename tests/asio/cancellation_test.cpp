// SPDX-License-Identifier: BSD-3-Clause
// Cancellation at any point where an operation waits, on the broker of KOMBU_TEST_URL. KOMBU_TEST_CANCELLATIONS is the
// number of cancellations.
#include "support/catch.hpp"
#include "support/messaging_fixture.hpp"
#include "support/pause_watch.hpp"

#include <kombu/asio.hpp>

#include <boost/asio.hpp>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

/// The number of operations that must end cancelled: fewer over TLS, where most of the time goes into new connections.
int cancellations() {
    const char* const wanted = std::getenv("KOMBU_TEST_CANCELLATIONS");
    return wanted ? std::atoi(wanted) : broker_url().starts_with("amqps") ? 2000 : 10000;
}

struct Counts {
    std::atomic<int> ended{0}, cancelled{0}, begun{0}, confirmed{0}, got{0}, timed_out{0};
    std::mutex mutex;
    std::string failures;  // under the mutex

    void add_failure(const std::string& text) {
        const std::lock_guard lock{mutex};
        failures += text + '\n';
    }
};

/// The pools under test, and the operations on them.
struct Workload {
    static constexpr std::size_t limit = 4;
    Messaging messaging;
    Connection connection{broker_url()};
    pools::Connections connections{{.limit = limit}};
    pools::Producers producers{{.limit = limit, .connections = &connections}};
    PublishOptions to_queue = messaging.to_queue();
    Queue queue = messaging.topology.queue;
    Counts counts;
    PauseWatch pauses;

    Workload() { messaging.queue(); }

    asio::awaitable<void> publish(int number) {
        auto producer = co_await producers[connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        PublishOptions options = to_queue;
        options.message_id = std::to_string(number);
        const Json body = number;
        ++counts.begun;
        co_await producer->async_publish(body, options, asio::use_awaitable);
        ++counts.confirmed;
    }
    asio::awaitable<void> get() {
        auto lease = co_await connections[connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        SimpleQueue from = co_await lease->async_simple_queue(queue, asio::use_awaitable);
        const GetOptions shortly{.timeout = 5ms};
        auto [error, message] = co_await from.async_get(shortly, asio::as_tuple(asio::use_awaitable));
        if (error == errc::empty) co_return;
        if (error) throw boost::system::system_error(error);
        if (message.payload() != Json(std::stoi(*message.properties().message_id)))
            counts.add_failure("another body than that of the message");
        co_await message.async_ack(asio::use_awaitable);
        ++counts.got;
    }
    asio::awaitable<void> connect() {
        auto lease = co_await connections[connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        co_await lease->async_connect(asio::use_awaitable);
    }
    asio::awaitable<void> nth_operation(int number) {
        switch (number % 8) {
            case 0: return connect();
            case 1:
            case 2:
            case 3: return get();
            default: return publish(number);
        }
    }
    auto completion_handler() {
        return [this](std::exception_ptr error) {
            ++counts.ended;
            if (!error) return;
            ++counts.cancelled;
            const auto code = to_error_code(error);
            if (code == asio::error::operation_aborted) return;
            if (code == errc::timeout) {
                ++counts.timed_out;
                return;
            }
            try {
                std::rethrow_exception(error);
            } catch (const std::exception& failure) {
                counts.add_failure(failure.what());
            }
        };
    }
    bool is_within_limits() {
        for (const PoolStats& stats : connections.stats())
            if (stats.in_use + stats.idle + stats.connecting + stats.closing > limit) return false;
        return true;
    }

    /// Called after all operations have ended.
    void check_consistent() {
        for (const PoolStats& stats : connections.stats()) {
            CHECK(stats.in_use == 0);
            CHECK(stats.waiting == 0);
            CHECK(stats.connecting == 0);
        }
        for (const PoolStats& stats : producers.stats()) {
            CHECK(stats.in_use == 0);
            CHECK(stats.waiting == 0);
        }
        // Each remaining connection serves its next user, and holds no reply to an earlier request.
        std::vector<Lease<Connection>> all;
        for (std::size_t i = 0; i < limit; ++i) {
            all.push_back(connections[connection].acquire());
            SimpleQueue own = all.back()->simple_queue(Queue{unique("own"), {}, {}, {.exclusive = true}});
            own.put(Json(i));
            Message message = own.get(soon);
            CHECK(message.payload() == Json(i));
            message.ack();
        }
        const int left = static_cast<int>(messaging.queue().qsize());
        CHECK(left + counts.got >= counts.confirmed);
        CHECK(left <= counts.begun);
        CHECK(counts.failures == "");
        if (pauses.longest() < 1s) CHECK(counts.timed_out == 0);
    }
};

}  // namespace

TEST_CASE("random cancellations leave the pools consistent and no exchange unfinished", "[asio][cancellation]") {
    Workload workload;
    const int total = cancellations();
    std::mt19937 random{20261123};
    asio::io_context io;
    std::vector<std::unique_ptr<asio::cancellation_signal>> signals;
    const auto run_some_handlers = [&] {
        for (auto steps = random() % (random() % 2 == 0 ? 3 : 24); steps != 0; --steps) io.run_one_for(20us);
    };
    int number = 0;
    for (; workload.counts.cancelled < total; ++number) {
        REQUIRE(number < 10 * total);
        signals.push_back(std::make_unique<asio::cancellation_signal>());
        asio::co_spawn(io, workload.nth_operation(number),
                       asio::bind_cancellation_slot(signals.back()->slot(), workload.completion_handler()));
        run_some_handlers();
        // Cancels one of the latest four, wherever it waits.
        const std::size_t victim = signals.size() - 1 - random() % std::min<std::size_t>(signals.size(), 4);
        signals[victim]->emit(asio::cancellation_type::terminal);
        if (number % 16 == 0) REQUIRE(workload.is_within_limits());
        io.restart();
    }
    for (const auto& signal : signals) signal->emit(asio::cancellation_type::terminal);
    io.run();
    CHECK(workload.counts.ended == number);
    CHECK(workload.counts.confirmed > 0);
    CHECK(workload.counts.got > 0);
    workload.check_consistent();
}

TEST_CASE("random cancellations while several threads run the context", "[asio][cancellation]") {
    Workload workload;
    const int total = cancellations() / 4;
    asio::io_context io;
    std::vector<std::unique_ptr<asio::cancellation_signal>> signals;
    auto work = asio::make_work_guard(io);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
    std::mt19937 random{4};
    int number = 0;
    for (; workload.counts.cancelled < total && number < 20 * total; ++number) {
        auto strand = asio::make_strand(io);
        signals.push_back(std::make_unique<asio::cancellation_signal>());
        auto& signal = *signals.back();
        asio::co_spawn(strand, workload.nth_operation(number),
                       asio::bind_cancellation_slot(signal.slot(), workload.completion_handler()));
        auto timer = std::make_shared<asio::steady_timer>(strand, std::chrono::microseconds{random() % 300});
        timer->async_wait(
            [timer, &signal](boost::system::error_code) { signal.emit(asio::cancellation_type::terminal); });
        if (number % 64 == 0) {
            CHECK(workload.is_within_limits());
            while (number - workload.counts.ended > 64) std::this_thread::yield();
        }
    }
    work.reset();
    for (auto& thread : threads) thread.join();
    CHECK(workload.counts.ended == number);
    CHECK(workload.counts.cancelled >= total);
    workload.check_consistent();
}
