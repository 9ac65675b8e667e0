// SPDX-License-Identifier: BSD-3-Clause
// A reset of producers at every step of a lease. The steps are those at which the pools call the transport.
#include "support/catch.hpp"

#include <kombu/pools.hpp>
#include <kombu/transport.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

/// Called by every connection of the transport "steps".
struct Steps {
    std::function<void()> on_validate{}, on_interrupt{};
};
Steps steps;

class StepConnection final : public TransportConnection {
public:
    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline) override {
        throw ConfigurationError("the transport has no channels");
    }
    async::Operation<> await_events(Deadline, Deadline, bool) override { co_return; }
    bool is_open() const noexcept override { return open_; }
    bool is_alive() noexcept override {
        if (const auto step = std::exchange(steps.on_validate, nullptr)) step();
        return open_;
    }
    async::Operation<> close(Deadline) override {
        open_ = false;
        co_return;
    }
    void abandon() noexcept override { open_ = false; }
    void interrupt() noexcept override {
        if (steps.on_interrupt) steps.on_interrupt();
        open_ = false;
    }

private:
    std::atomic<bool> open_{true};
};

class StepTransport final : public Transport {
public:
    void normalise(Endpoint&) const override {}
    async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint&, const ConnectionParameters&,
                                                                   Deadline) const override {
        co_return std::make_shared<StepConnection>();
    }
};

/// Pools of one producer and one connection, which is connected.
struct StepPools {
    StepPools() {
        register_transport("steps", std::make_shared<StepTransport>());
        connections = std::make_unique<pools::ConnectionPool>(Connection{"steps://host"}, PoolOptions{.limit = 1});
        producers = std::make_unique<pools::ProducerPool>(*connections, PoolOptions{.limit = 1});
        connections->acquire()->connect();
        (void)producers->acquire();
    }
    ~StepPools() { steps = {}; }
    StepPools(const StepPools&) = delete;
    StepPools& operator=(const StepPools&) = delete;

    std::unique_ptr<pools::ConnectionPool> connections;
    std::unique_ptr<pools::ProducerPool> producers;
};

}  // namespace

TEST_CASE("a producer whose pool is reset while it gets its connection is given up", "[pools]") {
    StepPools pools;
    bool interrupted = false;
    steps.on_validate = [&] { pools.producers->reset(); };
    steps.on_interrupt = [&] { interrupted = true; };
    const auto producer = pools.producers->acquire();
    CHECK_FALSE(steps.on_validate);
    CHECK_FALSE(interrupted);  // it held nothing yet
    CHECK(pools.producers->in_use() == 1);
    CHECK(pools.producers->stats().created == 2);
}

TEST_CASE("a reset interrupts the connection of a producer only while the producer holds it", "[pools]") {
    StepPools pools;
    std::atomic<bool> interrupting{false}, was_given_back{false};
    steps.on_interrupt = [&] {
        interrupting = true;
        // The other thread gives the producer back now; it has some time to do so too early.
        const auto end = Clock::now() + 50ms;
        while (Clock::now() < end && !was_given_back) was_given_back = pools.connections->in_use() == 0;
    };
    auto producer = pools.producers->acquire();
    std::thread resetter{[&] { pools.producers->reset(); }};
    while (!interrupting) std::this_thread::yield();
    producer.release();
    resetter.join();
    CHECK_FALSE(was_given_back);
    CHECK(pools.connections->in_use() == 0);
    CHECK(pools.connections->stats().idle == 0);  // an interrupted connection is not used again
    CHECK(pools.producers->acquire());
}
