// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/detail/thread.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace kombu::detail {

/// An io_context with a thread, for operations whose handlers name no executor. The thread starts with the first such
/// operation and ends one second after the last. A forked child has an instance of its own.
class Runtime {
public:
    using Executor = boost::asio::io_context::executor_type;
    using Guard = boost::asio::executor_work_guard<Executor>;

    /// Starts the thread unless it runs.
    /// \return a guard that keeps the thread running while the operation starts
    Guard keep_running() {
        // Without the lock: a constructor of a shared object that is being loaded may wait for it.
        pin_object_of(&this_object);
        std::lock_guard lock{mutex_};
        if (!running_) detail::start_thread("asynchronous operations", [this] { run_thread(); });
        running_ = true;
        ++requests_;
        changed_.notify_one();
        return Guard{context_.get_executor()};
    }

    bool is_running() const {
        std::lock_guard lock{mutex_};
        return running_;
    }

private:
    static constexpr std::chrono::seconds linger{1};

    void run_thread() {
        std::unique_lock lock{mutex_};
        for (std::uint64_t handled_requests = 0; handled_requests != requests_;) {
            handled_requests = requests_;
            lock.unlock();
            context_.restart();
            context_.run();
            lock.lock();
            changed_.wait_for(lock, linger, [&] { return handled_requests != requests_; });
        }
        running_ = false;
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool running_ = false;
    std::uint64_t requests_ = 0;
    boost::asio::io_context context_{1};
};

KOMBU_ONE_PER_PROCESS constinit NoDestructor<ForkLocal<Runtime>> the_runtime{};

inline Runtime& runtime() { return the_runtime.value.get(); }

}  // namespace kombu::detail
