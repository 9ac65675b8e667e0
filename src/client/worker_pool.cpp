// SPDX-License-Identifier: BSD-3-Clause
#include "client/worker_pool.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <mutex>
#include <set>
#include <utility>

namespace kombu::detail {

/// Outlives the pool while a handler that returned early has not ended.
struct WorkerPool::Core : std::enable_shared_from_this<Core> {
    Core(std::size_t concurrency_, Run run_, std::function<void(bool)> on_done_)
        : concurrency(concurrency_), run(std::move(run_)), on_done(std::move(on_done_)) {}

    void work();
    void end(std::list<RunningJob>::iterator job);
    /// The first job whose key is free; under the mutex.
    std::deque<HandlerJob>::iterator next_job();

    const std::size_t concurrency;
    const Run run;
    const std::function<void(bool)> on_done;
    std::mutex mutex{};
    std::condition_variable changed{};
    std::deque<HandlerJob> jobs{};
    std::list<RunningJob> running{};
    std::set<std::string> busy_keys{};
    bool is_ending = false;
};

WorkerPool::WorkerPool(std::size_t concurrency, std::size_t threads, Run run, std::function<void(bool)> on_done)
    : core_(std::make_shared<Core>(concurrency, std::move(run), std::move(on_done))) {
    try {
        for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([core = core_.get()] { core->work(); });
    } catch (...) {
        end_threads();
        throw;
    }
}

WorkerPool::~WorkerPool() { end_threads(); }

void WorkerPool::end_threads() noexcept {
    std::deque<HandlerJob> jobs;  // destroyed without the lock: their messages tell the loop
    {
        const std::lock_guard lock{core_->mutex};
        core_->is_ending = true;
        jobs.swap(core_->jobs);
    }
    core_->changed.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::submit(std::vector<HandlerJob> jobs) {
    {
        const std::lock_guard lock{core_->mutex};
        std::ranges::move(jobs, std::back_inserter(core_->jobs));
    }
    for (std::size_t i = std::min(jobs.size(), core_->concurrency); i > 0; --i) core_->changed.notify_one();
}

std::vector<HandlerJob> WorkerPool::reclaim() {
    const std::lock_guard lock{core_->mutex};
    std::vector<HandlerJob> jobs{std::make_move_iterator(core_->jobs.begin()),
                                 std::make_move_iterator(core_->jobs.end())};
    core_->jobs.clear();
    return jobs;
}

std::size_t WorkerPool::queued() const {
    const std::lock_guard lock{core_->mutex};
    return core_->jobs.size();
}

std::size_t WorkerPool::running() const {
    const std::lock_guard lock{core_->mutex};
    return core_->running.size();
}

std::size_t WorkerPool::running_messages() const {
    const std::lock_guard lock{core_->mutex};
    std::size_t count = 0;
    for (const RunningJob& running : core_->running) count += running.messages;
    return count;
}

void WorkerPool::request_stop() {
    // Callbacks of the handlers run here, without the lock.
    std::vector<std::stop_source> sources;
    {
        const std::lock_guard lock{core_->mutex};
        for (const RunningJob& job : core_->running) sources.push_back(job.stop);
    }
    for (std::stop_source& source : sources) source.request_stop();
}

std::size_t WorkerPool::stop_overdue(std::chrono::nanoseconds limit) {
    std::vector<std::stop_source> sources;
    {
        const std::lock_guard lock{core_->mutex};
        for (RunningJob& job : core_->running) {
            if (job.is_overdue || Clock::now() - job.since < limit) continue;
            job.is_overdue = true;
            sources.push_back(job.stop);
        }
    }
    for (std::stop_source& source : sources) source.request_stop();
    return sources.size();
}

std::deque<HandlerJob>::iterator WorkerPool::Core::next_job() {
    if (running.size() >= concurrency) return jobs.end();
    return std::ranges::find_if(jobs,
                                [&](const HandlerJob& job) { return job.key.empty() || !busy_keys.contains(job.key); });
}

void WorkerPool::Core::work() {
    std::unique_lock lock{mutex};
    for (;;) {
        auto next = jobs.end();
        changed.wait(lock, [&] {
            next = next_job();
            return is_ending || next != jobs.end();
        });
        if (is_ending) return;
        const auto job = running.insert(running.end(), RunningJob{});
        job->job = std::move(*next);
        job->messages = job->job.messages.size();
        jobs.erase(next);
        if (!job->job.key.empty()) busy_keys.insert(job->job.key);
        job->since = Clock::now();
        std::stop_token stop = job->stop.get_token();
        lock.unlock();
        run(job->job, std::move(stop), JobEnd{shared_from_this(), job});
        lock.lock();
    }
}

void WorkerPool::Core::end(std::list<RunningJob>::iterator job) {
    // Before it counts as ended: a message that nobody has settled tells the loop when it is destroyed.
    job->job.messages.clear();
    std::list<RunningJob> ended;
    bool another_begins = false;
    {
        const std::lock_guard lock{mutex};
        const bool has_key = !job->job.key.empty() && busy_keys.erase(job->job.key) != 0;
        // Only a pool that is full has a thread that waits for more than jobs.
        if (has_key)
            changed.notify_all();
        else if (running.size() >= concurrency)
            changed.notify_one();
        ended.splice(ended.end(), running, job);
        another_begins = next_job() != jobs.end();
    }
    on_done(another_begins);
}

void WorkerPool::JobEnd::operator()() {
    // The handler may hold this object: the core is released with it.
    const std::shared_ptr<Core> core = core_;
    core->end(job_);
}

}  // namespace kombu::detail
