// SPDX-License-Identifier: BSD-3-Clause
// Plain fork() from a process that uses kombu/asio.hpp, on the broker of KOMBU_TEST_URL.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"

#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

#include <future>
#include <optional>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

asio::awaitable<void> publish(const Connection& broker, const Queue& queue) {
    auto producer = co_await pools::producers[broker].async_acquire({.timeout = 20s}, asio::use_awaitable);
    const PublishOptions options{.exchange = queue.exchange(), .routing_key = "of nobody", .declare = {queue}};
    const Json body = 1;
    co_await producer->async_publish(body, options, asio::use_awaitable);
}

/// Returns "" on success.
std::string publish_some(asio::io_context& io, const Connection& broker, const Queue& queue) {
    std::string wrong;
    for (int i = 0; i < 5; ++i)
        asio::co_spawn(io, publish(broker, queue), [&](std::exception_ptr error) {
            if (error) wrong = to_error_code(error).message();
        });
    io.run();
    io.restart();
    return wrong;
}

/// The protocol for fork() in Asio's documentation.
struct Forking {
    explicit Forking(asio::io_context& io) : io_(io) { io_.notify_fork(asio::execution_context::fork_prepare); }
    ~Forking() { io_.notify_fork(asio::execution_context::fork_parent); }
    void in_child() { io_.notify_fork(asio::execution_context::fork_child); }
    asio::io_context& io_;
};

}  // namespace

TEST_CASE("a child uses another io_context, and the parent's goes on", "[fork][asio]") {
    const Connection broker{broker_url()};
    const Topology topology;
    asio::io_context io;
    REQUIRE(publish_some(io, broker, topology.queue) == "");
    const auto created = pools::connections[broker].stats().created;
    for (int i = 0; i < 5; ++i) {
        CHECK(in_child([&]() -> std::string {
                  asio::io_context own;
                  return publish_some(own, broker, topology.queue);
              }) == "");
        CHECK(publish_some(io, broker, topology.queue) == "");
    }
    CHECK(pools::connections[broker].stats().created == created);
}

TEST_CASE("a child uses the parent's io_context after notify_fork in all three phases", "[fork][asio]") {
    const Connection broker{broker_url()};
    const Topology topology;
    asio::io_context io;
    REQUIRE(publish_some(io, broker, topology.queue) == "");
    for (int i = 0; i < 5; ++i) {
        Forking forking{io};
        CHECK(in_child([&]() -> std::string {
                  forking.in_child();
                  return publish_some(io, broker, topology.queue);
              }) == "");
    }
    CHECK(publish_some(io, broker, topology.queue) == "");
}

TEST_CASE("pending operations fail in the child after a fork, and continue in the parent", "[fork][asio]") {
    const Connection broker{broker_url()};
    const Topology topology;
    pools::Connections group{{.limit = 1}};
    asio::io_context io;
    auto lease = group[broker].acquire();
    SimpleQueue queue = lease->simple_queue(topology.queue);
    std::optional<error_code> got, acquired;
    queue.async_get({.timeout = 30s}, asio::bind_executor(io, [&](error_code error, Message message) {
                        got = error;
                        if (!error) message.ack();
                    }));
    group[broker].async_acquire(
        {.timeout = 30s}, asio::bind_executor(io, [&](error_code error, Lease<Connection>) { acquired = error; }));
    io.poll();
    REQUIRE(group[broker].stats().waiting == 1);
    {
        Forking forking{io};
        CHECK(in_child([&]() -> std::string {
                  forking.in_child();
                  io.run_for(10s);
                  if (got != errc::connection) return "the get did not fail with errc::connection";
                  if (acquired != errc::pool_closed) return "the acquire did not fail with errc::pool_closed";
                  io.restart();
                  return publish_some(io, broker, topology.queue);
              }) == "");
    }
    CHECK_FALSE(got.has_value());
    Connection{broker}.simple_queue(topology.queue).put("text");
    io.restart();
    while (!got) io.run_one_for(10s);
    CHECK(got == error_code{});
    lease.release();
    io.restart();
    io.run();
    CHECK(acquired == error_code{});
}

TEST_CASE("futures work in the parent and in the child, whose thread is its own", "[fork][asio]") {
    const Connection broker{broker_url()};
    auto& pool = pools::connections[broker];
    pool.async_acquire({}, asio::use_future).get()->async_connect(asio::use_future).get();
    for (int i = 0; i < 3; ++i) {
        CHECK(in_child([&]() -> std::string {
                  auto lease = pool.async_acquire({}, asio::use_future).get();
                  lease->async_connect(asio::use_future).get();
                  return lease->connected() ? "" : "not connected";
              }) == "");
        CHECK(pool.async_acquire({}, asio::use_future).get()->connected());
    }
}

TEST_CASE("children of a process that publishes from coroutines all the time work", "[fork][asio]") {
    const Connection broker{broker_url()};
    const Topology topology;
    asio::io_context io;
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0}, rounds{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i)
        asio::co_spawn(
            asio::make_strand(io),
            [&]() -> asio::awaitable<void> {
                for (; !done; ++rounds) co_await publish(broker, topology.queue);
            },
            [&](std::exception_ptr error) { wrong += error ? 1 : 0; });
    for (int i = 0; i < 2; ++i) threads.emplace_back([&] { io.run(); });
    const int forks = broker.transport() == "memory" ? 200 : 40;
    for (int i = 0; i < forks; ++i) {
        const int before = rounds;
        REQUIRE(eventually([&] { return rounds > before; }));
        const std::string child = in_child([&]() -> std::string {
            asio::io_context own;
            return publish_some(own, broker, topology.queue);
        });
        CHECK(child == "");
        if (!child.empty()) break;
    }
    done = true;
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
}
