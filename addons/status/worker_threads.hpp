// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <httplib.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kombu::status {

/// The threads of the server. When all are busy and some connections wait, the server accepts no more: cpp-httplib's
/// own queue would take any number of connections, and with them the descriptors of the service.
class WorkerThreads final : public httplib::TaskQueue {
public:
    explicit WorkerThreads(std::size_t count) : limit_(2 * count) {
        try {
            for (std::size_t i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
        } catch (...) {
            shutdown();
            throw;
        }
    }
    WorkerThreads(const WorkerThreads&) = delete;
    WorkerThreads& operator=(const WorkerThreads&) = delete;
    ~WorkerThreads() override { shutdown(); }

    void enqueue(std::function<void()> task) override {
        std::unique_lock lock{mutex_};
        done_.wait(lock, [this] { return tasks_.size() + busy_ < limit_; });
        tasks_.push_back(std::move(task));
        added_.notify_one();
    }
    /// Called by the server when it accepts no more.
    void shutdown() final {
        {
            const std::lock_guard lock{mutex_};
            is_shut_down_ = true;
        }
        added_.notify_all();
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

private:
    void work() {
        std::unique_lock lock{mutex_};
        for (;;) {
            added_.wait(lock, [this] { return is_shut_down_ || !tasks_.empty(); });
            if (tasks_.empty()) return;
            const std::function<void()> task = std::move(tasks_.front());
            tasks_.pop_front();
            ++busy_;
            lock.unlock();
            task();
            lock.lock();
            --busy_;
            done_.notify_one();
        }
    }

    const std::size_t limit_;
    std::mutex mutex_{};
    std::condition_variable added_{}, done_{};
    std::deque<std::function<void()>> tasks_{};
    std::size_t busy_ = 0;
    bool is_shut_down_ = false;
    std::vector<std::thread> threads_{};
};

}  // namespace kombu::status
