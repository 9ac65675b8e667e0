// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/per_process.hpp>

#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace kombu::detail {

/// What the maintenance thread looks after.
class Maintained {
public:
    /// Keeps the object alive until run() has returned. False when it needs no more looking after.
    virtual bool enter() noexcept = 0;
    /// After enter(), without any lock.
    virtual void run() noexcept = 0;

protected:
    virtual ~Maintained() = default;
};

/// One thread for all pools of the process that need one. It starts with the first of them and ends after the last.
class Maintenance {
public:
    void add(Maintained& object, Clock::duration period) {
        std::lock_guard lock{mutex_};
        tasks_.reserve(tasks_.size() + 1);
        if (!running_) {
            std::thread{[this] {
                work();
            }}.detach();  // it begins with the lock; when it cannot be had, nothing is added
            running_ = true;
        }
        tasks_.push_back({&object, period, Clock::now()});
        changed_.notify_one();
    }

    /// Does not wait for a run that is going on.
    void remove(Maintained& object) noexcept {
        std::lock_guard lock{mutex_};
        std::erase_if(tasks_, [&](const Task& task) { return task.object == &object; });
        changed_.notify_one();
    }

    bool is_running() const {
        std::lock_guard lock{mutex_};
        return running_;
    }

private:
    struct Task {
        Maintained* object;
        Clock::duration period;
        Clock::time_point due;
    };

    void work() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the application's
        std::unique_lock lock{mutex_};
        while (!tasks_.empty()) {
            const auto next = std::min_element(tasks_.begin(), tasks_.end(),
                                               [](const Task& a, const Task& b) { return a.due < b.due; });
            const auto now = Clock::now();
            if (next->due > now) {
                const auto due = next->due;  // the task may be gone while this waits
                changed_.wait_until(lock, due);
                continue;
            }
            next->due = now + next->period;
            Maintained* const object = next->object;
            if (!object->enter()) {
                tasks_.erase(next);
                continue;
            }
            lock.unlock();
            object->run();
            lock.lock();
        }
        running_ = false;
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Task> tasks_;
    bool running_ = false;
};

KOMBU_ONE_PER_PROCESS constinit Immortal<PerProcess<Maintenance>> the_maintenance{};

inline Maintenance& maintenance() { return the_maintenance.value.get(); }

}  // namespace kombu::detail
