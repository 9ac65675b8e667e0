// SPDX-License-Identifier: BSD-3-Clause
// Statistics, reports, the observer and the log.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/log_capture.hpp"
#include "support/scripted_factory.hpp"

#include <future>
#include <mutex>
#include <vector>

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Catch::Matchers::Matches;
using kombu::Clock;
using kombu::CloseReason;
using kombu::DurationHistogram;
using kombu::ResourcePool;

namespace {

using Pool = ResourcePool<Thing>;

struct Recorder : kombu::PoolObserver {
    void acquired(const std::string& pool, Nanoseconds) override { add(pool + " acquired"); }
    void released(const std::string& pool, Nanoseconds) override { add(pool + " released"); }
    void created(const std::string& pool, Nanoseconds) override { add(pool + " created"); }
    void create_failed(const std::string& pool, const std::exception& why) override {
        add(pool + " create failed: " + why.what());
    }
    void closed(const std::string& pool, CloseReason why) override {
        add(pool + " closed " + std::to_string(static_cast<int>(why)));
    }
    void limit_exceeded(const kombu::LimitReport& report) override { add(report.pool + " limit exceeded"); }
    void leaked(const kombu::LeakReport& report) override { add(report.pool + " leaked"); }

    std::vector<std::string> drain() {
        std::lock_guard lock{mutex_};
        return std::exchange(events_, {});
    }

private:
    void add(std::string event) {
        std::lock_guard lock{mutex_};
        events_.push_back(std::move(event));
    }
    std::mutex mutex_;
    std::vector<std::string> events_;
};
using Events = std::vector<std::string>;

std::string limit_error(Pool& pool, const kombu::AcquireOptions& options) {
    try {
        (void)pool.acquire(options);
    } catch (const kombu::LimitExceeded& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("statistics count what happened, by reason", "[pool][stats]") {
    ScriptedFactory factory;
    Pool pool{factory.validating_hooks(), {.limit = 2, .name = "things"}};
    factory.on_create(ScriptedFactory::fails("no"));
    CHECK_THROWS(pool.acquire());
    pool.acquire().discard();
    auto a = pool.acquire();
    auto b = pool.acquire();
    CHECK_FALSE(pool.try_acquire());
    a->dead = true;
    a.release();
    a = pool.acquire();
    const auto stats = pool.stats();
    CHECK(stats.name == "things");
    CHECK(stats.limit == 2);
    CHECK(stats.in_use == 2);
    CHECK(stats.idle == 0);
    CHECK(stats.acquired == 4);
    CHECK(stats.created == 4);
    CHECK(stats.create_failures == 1);
    CHECK(stats.timeouts == 1);
    CHECK(stats.closed == 2);
    CHECK(stats.closed_for(CloseReason::discarded) == 1);
    CHECK(stats.closed_for(CloseReason::dead) == 1);
    b.release();
    pool.resize(1, {.ignore_errors = true});
    pool.reset();
    a.release();
    const auto after = pool.stats();
    CHECK(after.closed_for(CloseReason::surplus) == 1);
    CHECK(after.closed_for(CloseReason::reset) == 1);
    pool.acquire().release();
    pool.close();
    CHECK(pool.stats().closed_for(CloseReason::pool_closed) == 1);
}

TEST_CASE("histograms tell how long callers waited, used and connected", "[pool][stats]") {
    ScriptedFactory factory;
    Pool pool{factory.plain_hooks(), {.limit = 1}};
    auto held = pool.acquire();
    auto waiter = std::async(std::launch::async, [&] { pool.acquire({.block = true}).release(); });
    REQUIRE(eventually([&] { return pool.stats().waiting == 1; }));
    const auto waiting_since = Clock::now();
    CHECK(eventually([&] { return Clock::now() - waiting_since > 2ms; }));
    held.release();
    waiter.get();
    for (int i = 0; i < 1000; ++i) pool.acquire().release();
    const auto stats = pool.stats();
    CHECK(stats.acquired == 1002);
    CHECK(stats.wait.total() == 1002);
    CHECK(stats.wait.quantile(0.5) < 1us);
    CHECK(stats.longest_wait >= 2ms);
    CHECK(stats.wait.quantile(1) >= 2ms);
    // The first 64 uses are each timed, then one in 64, which counts 64 times.
    CHECK(stats.use.total() > 900);
    CHECK(stats.use.total() < 1100);
    CHECK(stats.use.quantile(1) >= 2ms);
    CHECK(stats.connect.total() == 1);
}

TEST_CASE("a histogram's buckets double in width", "[pool][stats]") {
    CHECK(DurationHistogram::bucket_of(-5ns) == 0);
    CHECK(DurationHistogram::bucket_of(0ns) == 0);
    CHECK(DurationHistogram::bucket_of(1ns) == 0);
    CHECK(DurationHistogram::bucket_of(1024ns) == 10);
    CHECK(DurationHistogram::bucket_of(1025ns) == 11);
    CHECK(DurationHistogram::upper_bound(10) == 1024ns);
    CHECK(DurationHistogram::bucket_of(std::chrono::hours{1000000}) == DurationHistogram::bucket_count - 1);
    DurationHistogram histogram;
    CHECK(histogram.quantile(0.99) == 0ns);
    histogram.add(100ns, 99);
    histogram.add(1ms);
    CHECK(histogram.quantile(0.5) == 128ns);
    CHECK(histogram.quantile(0.999) == 1048576ns);
}

TEST_CASE("the error of a full pool reports the oldest lease: its age and source line", "[pool][stats]") {
    ScriptedFactory factory;
    Pool pool{factory.hooks(), {.limit = 1, .name = "news@somewhere"}};
    auto held = pool.acquire();
    const unsigned line = __LINE__ - 1;
    CHECK_THAT(
        limit_error(pool, {}),
        Contains("news@somewhere: no resource is free (limit 1, in use 1, idle 0, waiting 0); oldest lease 0.") &&
            Contains(" s from observability_test.cpp:" + std::to_string(line) + "; last connect error: none"));
    CHECK_THAT(limit_error(pool, {.block = true, .timeout = 20ms}),
               Contains("news@somewhere: no resource within ") && !Contains("within 0 ms"));
}

TEST_CASE("the age of a lease is a lower bound where the clock is not read on each acquire", "[pool][stats]") {
    ScriptedFactory factory;
    Pool pool{factory.plain_hooks(), {.limit = 1}};
    for (int i = 0; i < 100; ++i) pool.acquire().release();
    auto held = pool.acquire();
    CHECK_THAT(limit_error(pool, {}), Contains("oldest lease over 0.0 s from observability_test.cpp"));
    CHECK_THAT(limit_error(pool, {.block = true, .timeout = 60ms}),
               Matches(".*oldest lease over (0\\.[1-9]|[1-9][0-9]*\\.[0-9]) s.*"));
}

TEST_CASE("a lease beyond leak_threshold is reported once, with the source line of its acquire", "[pool][stats]") {
    LogCapture log;
    ScriptedFactory factory;
    const auto observer = std::make_shared<Recorder>();
    Pool pool{
        factory.plain_hooks(),
        {.limit = 2, .leak_threshold = 60s, .name = "things", .observer = observer, .maintain_in_background = false}};
    auto held = pool.acquire();
    const unsigned line = __LINE__ - 1;
    auto other = pool.acquire();
    other.release();
    observer->drain();
    const auto now = Clock::now();
    pool.maintain(now + 59s);
    CHECK(pool.stats().leaks == 0);
    pool.maintain(now + 61s);
    pool.maintain(now + 62s);
    CHECK(pool.stats().leaks == 1);
    CHECK(observer->drain() == Events{"things leaked"});
    REQUIRE(log.lines().size() == 1);
    CHECK_THAT(log.lines().front(), Contains("warning: things: a lease has lasted 61.0 s from observability_test.cpp:" +
                                             std::to_string(line)));
    held.release();
    held = pool.acquire();
    pool.maintain(Clock::now() + 61s);
    CHECK(pool.stats().leaks == 2);
}

TEST_CASE("the end of a lease that was reported as leaked is reported, and of no other", "[pool][stats]") {
    struct Ends : kombu::PoolObserver {
        void leaked(const kombu::LeakReport& report) override { reported.push_back(report.lease.line); }
        void leak_ended(const kombu::LeakReport& report) override { ended.push_back(report.lease); }
        std::vector<unsigned> reported;
        std::vector<kombu::LeaseSite> ended;
    };
    ScriptedFactory factory;
    const auto observer = std::make_shared<Ends>();
    Pool pool{factory.plain_hooks(),
              {.limit = 1, .leak_threshold = 1s, .observer = observer, .maintain_in_background = false}};
    pool.acquire().release();
    for (int round = 1; round <= 2; ++round) {
        auto lease = round == 1 ? pool.acquire() : pool.acquire_idle();
        pool.maintain(Clock::now() + 1h);
        REQUIRE(observer->reported.size() == static_cast<std::size_t>(round));
        lease.release();
        REQUIRE(observer->ended.size() == static_cast<std::size_t>(round));
        CHECK(observer->ended.back().line == observer->reported.back());
        CHECK(observer->ended.back().age < 1h);  // by the clock of the end
        pool.acquire().release();
        CHECK(observer->ended.size() == static_cast<std::size_t>(round));
    }
    CHECK(pool.stats().leaks_ended == 2);
    // The lease ends while maintenance looks at it: the next one is not the one that was reported.
    struct Late : kombu::PoolObserver {
        void leaked(const kombu::LeakReport&) override { lease->release(); }
        void leak_ended(const kombu::LeakReport&) override { ++ends; }
        kombu::Lease<Thing>* lease = nullptr;
        int ends = 0;
    };
    const auto late = std::make_shared<Late>();
    Pool other{factory.plain_hooks(),
               {.limit = 1, .leak_threshold = 1s, .observer = late, .maintain_in_background = false}};
    auto held = other.acquire();
    late->lease = &held;
    other.maintain(Clock::now() + 1h);
    CHECK(late->ends == 1);
    other.acquire().release();
    CHECK(late->ends == 1);
}

TEST_CASE("an observer is called in order and without the pool's lock", "[pool][stats]") {
    struct QueryingObserver : Recorder {
        void acquired(const std::string& pool, Nanoseconds waited) override {
            Recorder::acquired(pool, waited);
            query();
        }
        void released(const std::string& pool, Nanoseconds used) override {
            Recorder::released(pool, used);
            query();
        }
        void created(const std::string& pool, Nanoseconds duration) override {
            Recorder::created(pool, duration);
            query();
        }
        void create_failed(const std::string& pool, const std::exception& error) override {
            Recorder::create_failed(pool, error);
            query();
        }
        void closed(const std::string& pool, CloseReason reason) override {
            Recorder::closed(pool, reason);
            query();
        }
        void limit_exceeded(const kombu::LimitReport& report) override {
            Recorder::limit_exceeded(report);
            query();
        }
        void leaked(const kombu::LeakReport& report) override {
            Recorder::leaked(report);
            query();
        }
        [[noreturn]] void query() const {
            if (queried_pool) (void)queried_pool->stats();  // would deadlock if the pool's lock were held
            throw std::runtime_error("goes nowhere");
        }
        Pool* queried_pool = nullptr;
    };
    ScriptedFactory factory;
    const auto observer = std::make_shared<QueryingObserver>();
    Pool pool{factory.hooks(), {.limit = 1, .name = "p", .observer = observer}};
    observer->queried_pool = &pool;
    pool.acquire().release();
    CHECK(observer->drain() == Events{"p created", "p acquired", "p released"});
    auto lease = pool.acquire();
    CHECK_FALSE(pool.try_acquire());
    lease.discard();
    CHECK(observer->drain() == Events{"p acquired", "p limit exceeded", "p released", "p closed 0"});
    factory.on_create(ScriptedFactory::fails("refused"));
    CHECK_THROWS(pool.acquire());
    CHECK(observer->drain() == Events{"p create failed: refused"});
}

TEST_CASE("nothing is logged until a logger is set", "[pool][stats]") {
    CHECK_FALSE(kombu::is_logging());
    kombu::log(kombu::LogLevel::error, "not delivered");
    {
        LogCapture log;
        CHECK(kombu::is_logging());
        kombu::log(kombu::LogLevel::info, "heard");
        CHECK(log.lines() == std::vector<std::string>{"heard"});
    }
    CHECK_FALSE(kombu::is_logging());
}
