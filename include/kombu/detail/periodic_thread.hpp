// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/detail/periodic_task.hpp>
#include <kombu/detail/thread.hpp>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace kombu::detail {

/// A thread that runs tasks periodically. It starts with the first task and ends after the last was removed.
class PeriodicThread {
public:
    /// Adding a task twice has no effect.
    /// \throws OperationalError  when the thread cannot be started; the task is not added then
    void add(PeriodicTask& object, Clock::duration period) {
        // Without the lock: a constructor of a shared object that is being loaded may wait for it.
        pin_object_of(&this_object);
        pin_object_of(*reinterpret_cast<const void* const*>(&object));  // its virtual functions are called
        std::lock_guard lock{mutex_};
        if (std::ranges::find(tasks_, &object, &Task::object) != tasks_.end()) return;
        if (tasks_.size() == tasks_.capacity()) tasks_.reserve(2 * tasks_.size() + 1);
        if (!running_) {
            start_thread("periodic tasks", [this] { work(); });  // it waits for the lock
            running_ = true;
        }
        tasks_.push_back({&object, period, Clock::now()});
        std::ranges::push_heap(tasks_, std::ranges::greater{}, &Task::due);
        changed_.notify_one();
    }

    /// Does not wait for a run in progress.
    void remove(PeriodicTask& object) noexcept {
        std::lock_guard lock{mutex_};
        std::erase_if(tasks_, [&](const Task& task) { return task.object == &object; });
        std::ranges::make_heap(tasks_, std::ranges::greater{}, &Task::due);
        changed_.notify_one();
    }

    bool is_running() const {
        std::lock_guard lock{mutex_};
        return running_;
    }

private:
    struct Task {
        PeriodicTask* object;
        Clock::duration period;
        Clock::time_point due;
    };

    void work() noexcept {
        std::unique_lock lock{mutex_};
        while (!tasks_.empty()) {
            const auto due = tasks_.front().due;  // the task may be removed during the wait
            const auto now = Clock::now();
            if (due > now) {
                changed_.wait_until(lock, due);
                continue;
            }
            std::ranges::pop_heap(tasks_, std::ranges::greater{}, &Task::due);
            PeriodicTask* const object = tasks_.back().object;
            if (!object->try_retain()) {
                tasks_.pop_back();
                continue;
            }
            tasks_.back().due = now + tasks_.back().period;
            std::ranges::push_heap(tasks_, std::ranges::greater{}, &Task::due);
            lock.unlock();
            object->run();
            lock.lock();
        }
        running_ = false;
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Task> tasks_;  // a heap, whose first is due next
    bool running_ = false;
};

KOMBU_ONE_PER_PROCESS constinit NoDestructor<ForkLocal<PeriodicThread>> the_maintenance_thread{};

/// The thread of all pools of the process.
inline PeriodicThread& maintenance_thread() { return the_maintenance_thread.value.get(); }

}  // namespace kombu::detail
