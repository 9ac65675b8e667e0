// SPDX-License-Identifier: BSD-3-Clause
// Plain fork() from a process that is using pools, on the broker of KOMBU_TEST_URL.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"

#include <kombu/detail/fork_safe_map.hpp>

#include <csignal>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

constexpr int hammer_count = 8;

/// The number of forks: KOMBU_TEST_FORKS, else fewer for brokers where each child must log in.
int forks(const Connection& broker) {
    if (const char* const wanted = std::getenv("KOMBU_TEST_FORKS")) return std::atoi(wanted);
    return broker.transport() == "memory" ? 1000 : 100;
}

int open_sockets() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
        std::error_code error;
        const auto target = std::filesystem::read_symlink(entry.path(), error);
        count += !error && target.string().rfind("socket:", 0) == 0 ? 1 : 0;
    }
    return count;
}

/// With a key that no queue is bound to: messages must not pile up in this process, which is copied often.
void publish(const Connection& broker, const Queue& queue, int number) {
    pools::producers[broker]
        .acquire({.block = true, .timeout = 20s})
        ->publish(Json{{"n", number}}, {.exchange = queue.exchange(), .routing_key = "of nobody", .declare = {queue}});
}

/// Threads that use the pools until stop(), which returns their errors.
class Hammers {
public:
    Hammers(const Connection& broker, const Queue& queue) {
        for (int number = 0; number < hammer_count; ++number)
            threads_.emplace_back([this, &broker, &queue, number] {
                while (!done_) {
                    try {
                        publish(broker, queue, number);
                        auto connection = pools::connections[broker].acquire({.block = true, .timeout = 20s});
                        if (number % 2 == 0) (void)pools::stats();
                        ++rounds_;
                    } catch (const std::exception& error) {
                        std::lock_guard lock{mutex_};
                        errors_ += std::string{error.what()} + "\n";
                        return;
                    }
                }
            });
    }
    ~Hammers() { stop(); }
    std::string stop() {
        done_ = true;
        for (auto& thread : threads_)
            if (thread.joinable()) thread.join();
        return errors_;
    }
    long rounds() const { return rounds_; }

private:
    std::atomic<bool> done_{false};
    std::atomic<long> rounds_{0};
    std::mutex mutex_;
    std::string errors_;
    std::vector<std::thread> threads_;
};

const PoolStats& connection_stats(const std::vector<PoolStats>& all) {
    for (const PoolStats& stats : all)
        if (stats.name.rfind("connections@", 0) == 0) return stats;
    throw std::runtime_error("no pool of connections");
}

}  // namespace

TEST_CASE("children of a process whose threads hammer its pools work, and the parent notices nothing", "[fork]") {
    const Connection broker{broker_url()};
    const Topology topology;
    const bool has_sockets = broker.transport() != "memory";
    // Enough connections for all threads at once, so that none connects later.
    {
        std::vector<Lease<Connection>> all;
        for (int i = 0; i < 2 * hammer_count + 1; ++i) {
            all.push_back(pools::connections[broker].acquire());
            all.back()->connect();
        }
    }
    auto inherited = pools::connections[broker].acquire();
    inherited->connect();
    auto& pool = pools::connections[broker];
    const auto connected = pool.stats().created;

    Hammers hammers{broker, topology.queue};
    REQUIRE(eventually([&] { return hammers.rounds() > 100; }));
    int failures = 0;
    for (int round = 0; round < forks(broker) && failures < 3; ++round) {
        const std::string wrong = in_child(
            [&]() -> std::string {
                if (open_sockets() != 0) return "sockets of the parent are open";
                const PoolStats at_first = pool.stats();
                if (at_first.idle + at_first.in_use + at_first.connecting != 0) return "the pool is not empty";
                if (at_first.limit != pools::get_limit()) return "the pool has another limit";
                if (&pools::connections[broker] != &pool) return "the group has another pool for the broker";
                inherited.release();
                if (pool.stats().idle != 0) return "an inherited lease released a resource";
                for (int i = 0; i < 3; ++i) publish(broker, topology.queue, round);
                const PoolStats used = pool.stats();
                if (used.created != 1 || used.idle != 1) return "three publishes did not share one connection";
                if (has_sockets && open_sockets() != 1) return "the child does not have exactly one socket";
                if (round % 10 == 0) {
                    pools::set_limit(7);
                    pools::reset();
                    if (pool.limit() != 7) return "set_limit does not work";
                    publish(broker, topology.queue, round);
                }
                return "";
            },
            round % 2 == 0);
        INFO("round " << round);
        CHECK(wrong == "");
        failures += wrong.empty() ? 0 : 1;
    }
    CHECK(hammers.stop() == "");
    CHECK(pool.stats().created == connected);
    CHECK(inherited->connected());
    inherited->default_channel().queue_declare(topology.queue);  // it is still the parent's, and works
    CHECK(connection_stats(pools::stats()).closed == 0);
}

TEST_CASE("an inherited channel refuses to talk to the broker, and its connection connects anew", "[fork]") {
    const Connection broker{broker_url()};
    const Topology topology;
    Connection mine{broker};
    mine.connect();
    auto channel = mine.default_channel();
    CHECK(in_child([&]() -> std::string {
              try {
                  channel.queue_declare(topology.queue);
                  return "a channel of the parent was used";
              } catch (const ConnectionError&) {
              }
              if (mine.connected()) return "the connection says it is connected";
              mine.default_channel().queue_declare(topology.queue);  // connects by itself
              return mine.connected() ? "" : "it did not connect anew";
          }) == "");
    channel.queue_declare(topology.queue);
    CHECK(mine.connected());
}

TEST_CASE("maintenance works in a child too", "[fork]") {
    pools::Connections group{{.limit = 5, .preload = 2}};
    const Connection broker{broker_url()};
    REQUIRE(eventually([&] { return group[broker].stats().idle == 2; }));
    CHECK(in_child([&]() -> std::string {
              return eventually([&] { return group[broker].stats().idle == 2; }) ? "" : "nothing was preloaded";
          }) == "");
}

TEST_CASE("a child that only exits creates no resource", "[fork]") {
    struct Watching : PoolObserver {
        void created(const std::string&, Nanoseconds) override {
            if (::getpid() != parent) ::_exit(7);
        }
        const pid_t parent = ::getpid();
    };
    const Connection broker{unique("memory://watched")};
    pools::connections.configure(broker, {.preload = 1, .observer = std::make_shared<Watching>()});
    REQUIRE(eventually([&] { return pools::connections[broker].stats().idle == 1; }));
    CHECK(in_child([] { return std::string{}; }, true) == "");
}

TEST_CASE("a child closes its own pools when their keys are erased and their groups destroyed", "[fork]") {
    std::optional<pools::Connections> group{std::in_place, pools::ConnectionsOptions{.limit = 2}};
    const Connection broker{broker_url()}, other{"memory://" + unique("other")};
    (*group)[broker].acquire()->connect();
    (void)(*group)[other];
    CHECK(in_child([&]() -> std::string {
              const int before = open_sockets();
              auto& pool = (*group)[broker];
              pool.acquire()->connect();
              group->erase(broker);
              if (open_sockets() != before) return "an erased pool has connections";
              (*group)[other].acquire()->connect();
              auto& kept = (*group)[other];
              group.reset();
              return kept.stats().idle == 0 ? "" : "the pool of a destroyed group has connections";
          }) == "");
    CHECK((*group)[broker].acquire()->connected());
}

TEST_CASE("a child of a child works", "[fork]") {
    const Connection broker{broker_url()};
    const Topology topology;
    publish(broker, topology.queue, 0);
    CHECK(in_child([&]() -> std::string {
              publish(broker, topology.queue, 1);
              const std::string wrong = in_child([&]() -> std::string {
                  publish(broker, topology.queue, 2);
                  return pools::connections[broker].stats().created == 1 ? "" : "it used what it inherited";
              });
              publish(broker, topology.queue, 3);
              return wrong;
          }) == "");
    publish(broker, topology.queue, 4);
}

TEST_CASE("without handlers after_fork_child() does the same", "[fork]") {
    const Connection broker{broker_url()};
    const Topology topology;
    publish(broker, topology.queue, 0);
    auto& pool = pools::connections[broker];
    CHECK(in_child([&]() -> std::string {
              // In a process of its own, since handlers cannot be enabled again.
              disable_fork_handlers();
              return in_child([&]() -> std::string {
                  after_fork_child();
                  after_fork_child();  // a second time does nothing
                  if (pool.stats().idle != 0) return "the pool is not empty";
                  publish(broker, topology.queue, 1);
                  return pool.stats().created == 1 ? "" : "it used what it inherited";
              });
          }) == "");
    publish(broker, topology.queue, 2);
}

TEST_CASE("a child that is forked while a fork-safe map changes has a whole copy of it", "[fork]") {
    kombu::detail::ForkSafeMap<std::string, int> map;
    constexpr int kept = 100;
    for (int i = 0; i < kept; ++i) map.insert("kept" + std::to_string(i), i);
    std::atomic<bool> done{false};
    std::jthread changes{[&] {
        for (int round = 0; !done; ++round) {
            const auto lock = map.lock();
            const std::string key = std::to_string(round % 3000);
            if (!map.extract(key)) map.insert(key, round);
        }
    }};
    for (int i = 0; i < 50; ++i)
        CHECK(in_child([&]() -> std::string {
                  const auto lock = map.lock();  // the parent's may be held
                  for (int k = 0; k < kept; ++k) {
                      const int* const value = map.find("kept" + std::to_string(k));
                      if (!value || *value != k) return "key " + std::to_string(k) + " is missing";
                  }
                  map.insert("of the child", 1);
                  return map.find("of the child") ? "" : "the child cannot insert";
              }) == "");
    done = true;
}

TEST_CASE("a create that forks, and goes on in the child, ends there with PoolClosed", "[fork]") {
    for (int round = 0; round < 40; ++round) {
        std::atomic<bool> done{false};
        pid_t child = -1;
        ResourceFactory<int> factory;
        factory.create = [&](const Acquisition&) {
            child = ::fork();
            if (child == 0) ::alarm(20);
            return std::make_shared<int>(1);
        };
        ResourcePool<int> pool{std::move(factory), {.limit = 2}};
        std::jthread other{[&] {
            while (!done) (void)pool.stats();  // holds the lock most of the time
        }};
        int status = 0;
        try {
            (void)pool.acquire();
        } catch (const PoolClosed&) {
            status = 1;
        }
        if (child == 0) ::_exit(status == 1 ? 0 : 1);
        done = true;
        other.join();
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(status == 0);
    }
}

TEST_CASE("interrupt and close may fork, and the child goes on", "[fork]") {
    pid_t child = -1;
    ResourceFactory<int> factory;
    bool forks = false;
    const auto fork_once = [&](int&) {
        if (!std::exchange(forks, false)) return;
        child = ::fork();
        if (child == 0) ::alarm(20);
    };
    factory.create = [](const Acquisition&) { return std::make_shared<int>(1); };
    factory.interrupt = fork_once;
    factory.close = fork_once;
    ResourcePool<int> pool{std::move(factory), {.limit = 2, .idle_timeout = 1h, .maintain_in_background = false}};
    const std::function<void()> steps[] = {
        [&] {  // interrupt
            auto held = pool.acquire();
            forks = true;
            pool.reset();
        },
        [&] {  // close of an idle resource
            pool.acquire().release();
            forks = true;
            pool.resize(1, {.reset = true});
        },
        [&] {  // close of a released one
            auto held = pool.acquire();
            pool.close();
            forks = true;
            held.release();
        },
    };
    for (int round = 0; round < 60; ++round) {
        const auto& step = steps[round % 3];
        pool.reset();
        {
            std::atomic<bool> done{false};
            std::jthread other{[&] {
                while (!done) (void)pool.stats();  // holds the lock most of the time
            }};
            step();
            if (child == 0) ::_exit(pool.acquire() ? 0 : 1);
            done = true;
        }
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(status == 0);
    }
}
