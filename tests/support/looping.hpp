// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/catch.hpp"
#include "support/messaging_fixture.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <future>
#include <mutex>
#include <utility>
#include <vector>

/// A queue for a ConsumerLoop, and what its handlers have seen.
struct Looping : Messaging {
    kombu::Connection other{broker_url()};
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<int> seen;  // under the mutex
    std::atomic<int> unexpected{0};

    /// For the threads of the handlers, where assertions are not possible.
    void expect(bool holds) {
        if (!holds) ++unexpected;
    }
    void publish(int count, int first = 0) {
        kombu::Batch batch = producer.batch();
        for (int n = first; n < first + count; ++n) batch.publish(n, to_queue());
        batch.commit(std::chrono::seconds{30});
    }
    std::uint32_t ready() { return other.simple_queue(topology.queue).qsize(); }
    void record(const kombu::Message& message) {
        const std::lock_guard lock{mutex};
        seen.push_back(message.payload().get<int>());
        changed.notify_all();
    }
    /// A handler that records its message, and ends when the other side lets it.
    auto record_until(std::shared_future<void> released) {
        return [this, released = std::move(released)](kombu::Message& message) {
            record(message);
            released.wait();
        };
    }
    /// Waits until that many were recorded.
    void await_seen(std::size_t count) {
        std::unique_lock lock{mutex};
        CHECK(changed.wait_for(lock, std::chrono::seconds{30}, [&] { return seen.size() >= count; }));
    }
};

inline std::vector<int> numbers(int count) {
    std::vector<int> list;
    for (int n = 0; n < count; ++n) list.push_back(n);
    return list;
}

inline void check_sum(const kombu::ConsumerStats& stats) {
    CHECK(stats.received ==
          stats.acknowledged + stats.rejected + stats.requeued + stats.retried + stats.late + stats.in_hand);
}
