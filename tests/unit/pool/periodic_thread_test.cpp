// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <kombu/detail/periodic_thread.hpp>

#include <atomic>
#include <chrono>

using namespace std::chrono_literals;
using kombu::detail::PeriodicTask;
using kombu::detail::PeriodicThread;

namespace {

class CountedTask final : public PeriodicTask {
public:
    bool try_retain() noexcept override { return wanted; }
    void run() noexcept override { ++runs; }
    std::atomic<bool> wanted{true};
    std::atomic<int> runs{0};
};

}  // namespace

TEST_CASE("a task that is added twice runs once a period", "[pool][maintenance]") {
    PeriodicThread thread;
    CountedTask first, later, often;
    thread.add(often, 1ms);
    REQUIRE(eventually([&] { return often.runs != 0; }));
    thread.add(first, 1h);
    thread.add(first, 1h);
    thread.add(later, 1h);
    CHECK(eventually([&] { return later.runs == 1; }));
    const int seen = often.runs;
    CHECK(eventually([&] { return often.runs > seen + 2; }));
    CHECK(first.runs == 1);
    CHECK(later.runs == 1);
    often.wanted = false;
    thread.remove(first);
    thread.remove(later);
    CHECK(eventually([&] { return !thread.is_running(); }));
    thread.add(often, 1h);
    often.wanted = true;
    thread.remove(often);
    CHECK(eventually([&] { return !thread.is_running(); }));
}
