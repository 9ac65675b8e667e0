// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/message.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
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

/// Calls the handler of a ConsumerLoop for jobs, some at a time. Jobs are started in their order. A handler may return
/// before it has ended, and end on any thread.
class WorkerPool {
    struct Core;
    struct RunningJob {
        HandlerJob job{};
        std::size_t messages = 0;
        std::stop_source stop{};
        Clock::time_point since{};
        bool is_overdue = false;
    };

public:
    /// Called when a handler has ended. Does nothing but release memory when the pool has gone.
    class JobEnd {
    public:
        JobEnd(std::shared_ptr<Core> core, std::list<RunningJob>::iterator job) : core_(std::move(core)), job_(job) {}
        void operator()();

    private:
        std::shared_ptr<Core> core_;
        std::list<RunningJob>::iterator job_;
    };
    using Run = std::function<void(HandlerJob&, std::stop_token, JobEnd)>;

    /// \param concurrency  the number of jobs that run at once
    /// \param threads  that call `run`: as many, or one when handlers return before they have ended
    /// \param run  is called for each job, which exists until it calls JobEnd; must not throw
    /// \param on_done  is called after each job, with whether another job can begin; must not throw
    WorkerPool(std::size_t concurrency, std::size_t threads, Run run, std::function<void(bool)> on_done);
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;
    /// Waits for the calls of `run`.
    ~WorkerPool();

    void submit(std::vector<HandlerJob> jobs);
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
    void end_threads() noexcept;

    const std::shared_ptr<Core> core_;
    std::vector<std::thread> threads_{};
};

}  // namespace kombu::detail
