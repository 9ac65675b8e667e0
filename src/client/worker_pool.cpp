// SPDX-License-Identifier: BSD-3-Clause
#include "client/worker_pool.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace kombu::detail {

WorkerPool::WorkerPool(std::size_t threads, Run run, std::function<void()> on_done)
    : run_(std::move(run)), on_done_(std::move(on_done)) {
    try {
        for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {
        {
            const std::lock_guard lock{mutex_};
            is_ending_ = true;
        }
        changed_.notify_all();
        for (std::thread& thread : threads_) thread.join();
        throw;
    }
}

WorkerPool::~WorkerPool() {
    std::deque<HandlerJob> jobs;  // destroyed without the lock: their messages tell the loop
    {
        const std::lock_guard lock{mutex_};
        is_ending_ = true;
        jobs.swap(jobs_);
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::submit(HandlerJob job) {
    {
        const std::lock_guard lock{mutex_};
        jobs_.push_back(std::move(job));
    }
    changed_.notify_one();
}

std::vector<HandlerJob> WorkerPool::reclaim() {
    const std::lock_guard lock{mutex_};
    std::vector<HandlerJob> jobs{std::make_move_iterator(jobs_.begin()), std::make_move_iterator(jobs_.end())};
    jobs_.clear();
    return jobs;
}

std::size_t WorkerPool::queued() const {
    const std::lock_guard lock{mutex_};
    return jobs_.size();
}

std::size_t WorkerPool::running() const {
    const std::lock_guard lock{mutex_};
    return running_.size();
}

std::size_t WorkerPool::running_messages() const {
    const std::lock_guard lock{mutex_};
    std::size_t count = 0;
    for (const RunningJob& job : running_) count += job.messages;
    return count;
}

void WorkerPool::request_stop() {
    // Callbacks of the handlers run here, without the lock.
    std::vector<std::stop_source> sources;
    {
        const std::lock_guard lock{mutex_};
        for (const RunningJob& job : running_) sources.push_back(job.stop);
    }
    for (std::stop_source& source : sources) source.request_stop();
}

std::size_t WorkerPool::stop_overdue(std::chrono::nanoseconds limit) {
    std::vector<std::stop_source> sources;
    {
        const std::lock_guard lock{mutex_};
        for (RunningJob& job : running_) {
            if (job.is_overdue || Clock::now() - job.since < limit) continue;
            job.is_overdue = true;
            sources.push_back(job.stop);
        }
    }
    for (std::stop_source& source : sources) source.request_stop();
    return sources.size();
}

std::deque<HandlerJob>::iterator WorkerPool::next_job() {
    return std::ranges::find_if(
        jobs_, [&](const HandlerJob& job) { return job.key.empty() || !busy_keys_.contains(job.key); });
}

void WorkerPool::work() {
    std::unique_lock lock{mutex_};
    for (;;) {
        auto next = jobs_.end();
        changed_.wait(lock, [&] {
            next = next_job();
            return is_ending_ || next != jobs_.end();
        });
        if (is_ending_) return;
        HandlerJob job = std::move(*next);
        jobs_.erase(next);
        if (!job.key.empty()) busy_keys_.insert(job.key);
        const auto running = running_.insert(running_.end(), RunningJob{});
        running->since = Clock::now();
        running->messages = job.messages.size();
        const std::stop_token stop = running->stop.get_token();
        const std::string key = job.key;
        lock.unlock();
        run_(job, stop);
        job.messages.clear();
        lock.lock();
        running_.erase(running);
        if (!key.empty() && busy_keys_.erase(key) != 0) changed_.notify_all();
        lock.unlock();
        on_done_();
        lock.lock();
    }
}

}  // namespace kombu::detail
