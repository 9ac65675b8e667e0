// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/message.hpp>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace kombu::detail {

/// The messages of one call of a handler.
struct HandlerJob {
    std::vector<Message> messages{};
    /// The name of their queue.
    std::string queue{};
    /// Jobs with equal keys run one after the other, in their order. Empty: no order.
    std::string key{};
};

/// Threads that call the handler of a ConsumerLoop. Jobs are started in their order.
class WorkerPool {
public:
    using Run = std::function<void(HandlerJob&, std::stop_token)>;

    /// `run` is called on the threads for each job, and `on_done` after it; they must not throw.
    WorkerPool(std::size_t threads, Run run, std::function<void()> on_done);
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;
    /// Waits for the jobs that run.
    ~WorkerPool();

    void submit(HandlerJob job);
    /// Takes back the jobs that have not begun, in their order.
    std::vector<HandlerJob> reclaim();
    std::size_t queued() const;
    /// The number of jobs that run, and of their messages.
    std::size_t running() const;
    std::size_t running_messages() const;
    /// Sets the stop_token of all that run.
    void request_stop();
    /// Sets the stop_token of those that have run for longer than `limit`. Returns how many are so for the first time.
    std::size_t stop_overdue(std::chrono::nanoseconds limit);

private:
    struct RunningJob {
        std::stop_source stop{};
        Clock::time_point since{};
        std::size_t messages = 0;
        bool is_overdue = false;
    };

    void work();
    /// The first job whose key is free; under the mutex.
    std::deque<HandlerJob>::iterator next_job();

    const Run run_;
    const std::function<void()> on_done_;
    mutable std::mutex mutex_{};
    std::condition_variable changed_{};
    std::deque<HandlerJob> jobs_{};
    std::list<RunningJob> running_{};
    std::set<std::string> busy_keys_{};
    bool is_ending_ = false;
    std::vector<std::thread> threads_{};
};

}  // namespace kombu::detail
