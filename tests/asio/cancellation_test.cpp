// Cancellation at whatever point an operation happens to wait, on the broker of KOMBU_TEST_URL.
// KOMBU_TEST_CANCELLATIONS says how often.
#include "support/catch.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/asio.hpp>

#include <boost/asio.hpp>

#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

/// Operations that are really cut short, in each of the tests.
int cancellations() {
    const char* const wanted = std::getenv("KOMBU_TEST_CANCELLATIONS");
    return wanted ? std::atoi(wanted) : 10000;
}

struct Counts {
    std::atomic<int> ended{0}, cancelled{0}, begun{0}, confirmed{0}, got{0}, wrong{0};
};

/// Pools under test, and what is done with them.
struct Bed {
    static constexpr std::size_t limit = 4;
    Messaging messaging;
    Connection connection{broker_url()};
    pools::Connections connections{{.limit = limit}};
    pools::Producers producers{{.limit = limit, .connections = &connections}};
    PublishOptions here = messaging.here();
    Queue queue = messaging.place.queue;
    Counts counts;

    Bed() { messaging.queue(); }

    asio::awaitable<void> publish(int number) {
        auto producer = co_await producers[connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        PublishOptions options = here;
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
        if (message.payload() != Json(std::stoi(*message.properties().message_id))) ++counts.wrong;
        co_await message.async_ack(asio::use_awaitable);
        ++counts.got;
    }
    asio::awaitable<void> connect() {
        auto lease = co_await connections[connection].async_acquire({.timeout = 60s}, asio::use_awaitable);
        co_await lease->async_connect(asio::use_awaitable);
    }
    asio::awaitable<void> something(int number) {
        switch (number % 8) {
            case 0: return connect();
            case 1:
            case 2:
            case 3: return get();
            default: return publish(number);
        }
    }
    auto end() {
        return [this](std::exception_ptr error) {
            ++counts.ended;
            if (!error) return;
            const auto code = to_error_code(error);
            if (code != asio::error::operation_aborted) {
                ++counts.wrong;
                UNSCOPED_INFO(code.message());
            }
            ++counts.cancelled;
        };
    }
    bool is_within_limits() {
        for (const PoolStats& stats : connections.stats())
            if (stats.in_use + stats.idle + stats.connecting + stats.closing > limit) return false;
        return true;
    }

    /// After everything has ended.
    void check_whole() {
        for (const PoolStats& stats : connections.stats()) {
            CHECK(stats.in_use == 0);
            CHECK(stats.waiting == 0);
            CHECK(stats.connecting == 0);
        }
        for (const PoolStats& stats : producers.stats()) {
            CHECK(stats.in_use == 0);
            CHECK(stats.waiting == 0);
        }
        // Each connection that is left serves its next user, who finds no answer to somebody else's question.
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
        CHECK(counts.wrong == 0);
    }
};

}  // namespace

TEST_CASE("random cancellations leave the pools whole and nothing of an exchange behind", "[asio][cancellation]") {
    Bed bed;
    const int total = cancellations();
    std::mt19937 random{20261123};
    asio::io_context io;
    std::vector<std::unique_ptr<asio::cancellation_signal>> signals;
    const auto some_steps = [&] {
        for (auto steps = random() % (random() % 2 == 0 ? 3 : 24); steps != 0; --steps) io.run_one_for(20us);
    };
    int number = 0;
    for (; bed.counts.cancelled < total; ++number) {
        REQUIRE(number < 10 * total);
        signals.push_back(std::make_unique<asio::cancellation_signal>());
        asio::co_spawn(io, bed.something(number), asio::bind_cancellation_slot(signals.back()->slot(), bed.end()));
        some_steps();
        // Some wait for others to be over; the latest is cancelled wherever it is, or the one before.
        const std::size_t victim = signals.size() - 1 - random() % std::min<std::size_t>(signals.size(), 4);
        signals[victim]->emit(asio::cancellation_type::terminal);
        if (number % 16 == 0) REQUIRE(bed.is_within_limits());
        io.restart();
    }
    for (const auto& signal : signals) signal->emit(asio::cancellation_type::terminal);
    io.run();
    CHECK(bed.counts.ended == number);
    CHECK(bed.counts.confirmed > 0);
    CHECK(bed.counts.got > 0);
    bed.check_whole();
}

TEST_CASE("random cancellations while several threads run the context", "[asio][cancellation]") {
    Bed bed;
    const int total = cancellations() / 4;
    asio::io_context io;
    std::vector<std::unique_ptr<asio::cancellation_signal>> signals;
    auto work = asio::make_work_guard(io);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
    std::mt19937 random{4};
    int number = 0;
    for (; bed.counts.cancelled < total && number < 20 * total; ++number) {
        auto strand = asio::make_strand(io);
        signals.push_back(std::make_unique<asio::cancellation_signal>());
        auto& signal = *signals.back();
        asio::co_spawn(strand, bed.something(number), asio::bind_cancellation_slot(signal.slot(), bed.end()));
        auto timer = std::make_shared<asio::steady_timer>(strand, std::chrono::microseconds{random() % 300});
        timer->async_wait(
            [timer, &signal](boost::system::error_code) { signal.emit(asio::cancellation_type::terminal); });
        if (number % 64 == 0) {
            CHECK(bed.is_within_limits());
            while (number - bed.counts.ended > 64) std::this_thread::yield();
        }
    }
    work.reset();
    for (auto& thread : threads) thread.join();
    CHECK(bed.counts.ended == number);
    CHECK(bed.counts.cancelled >= total);
    bed.check_whole();
}
