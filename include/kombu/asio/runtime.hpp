// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <thread>

namespace kombu::detail {

/// An io_context with a thread, for operations whose handlers name no executor. The thread starts with the first of
/// them and ends a second after the last. Each process has its own: a forked child starts anew.
class Runtime {
public:
    using Executor = boost::asio::io_context::executor_type;
    using Guard = boost::asio::executor_work_guard<Executor>;

    /// Something to keep the thread while the operation begins.
    Guard enter() {
        std::lock_guard lock{mutex_};
        if (!running_) std::thread{[this] { work(); }}.detach();
        running_ = true;
        ++entered_;
        changed_.notify_one();
        return Guard{context_.get_executor()};
    }

    bool is_running() const {
        std::lock_guard lock{mutex_};
        return running_;
    }

private:
    static constexpr std::chrono::seconds linger{1};

    void work() {
        ::sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the application's
        std::unique_lock lock{mutex_};
        for (std::uint64_t seen = 0; seen != entered_;) {
            seen = entered_;
            lock.unlock();
            context_.restart();
            context_.run();
            lock.lock();
            changed_.wait_for(lock, linger, [&] { return seen != entered_; });
        }
        running_ = false;
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool running_ = false;
    std::uint64_t entered_ = 0;
    boost::asio::io_context context_{1};
};

KOMBU_ONE_PER_PROCESS constinit NoDestructor<ForkLocal<Runtime>> the_runtime{};

inline Runtime& runtime() { return the_runtime.value.get(); }

}  // namespace kombu::detail
