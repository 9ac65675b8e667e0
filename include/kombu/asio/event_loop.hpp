// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/timer_wheel.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/descriptor_base.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/query.hpp>
#include <boost/system/error_code.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

/// The library's state in an execution context of the user (an io_context, a thread_pool), and its shutdown.
namespace kombu::detail {

class Registration;

/// Outlives the execution context, for objects that remove themselves later.
struct LoopState {
    ForkSafeMutex mutex{};
    bool is_shut_down = false;
    IntrusiveList<Registration> registrations{};
    const std::shared_ptr<TimerWheel> timer_wheel = std::make_shared<TimerWheel>();
};

/// A descriptor in the reactor of the context. It stays there between operations, since adding it costs system calls.
class Registration : public ListHook<Registration> {
public:
    Registration(std::shared_ptr<LoopState> loop, boost::asio::any_io_executor executor, int descriptor)
        : loop_(std::move(loop)), descriptor_(std::in_place, std::move(executor), descriptor) {
        const std::lock_guard lock{loop_->mutex};
        loop_->registrations.push_front(*this);
    }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() {
        const std::lock_guard lock{loop_->mutex};
        if (loop_->is_shut_down) return;
        loop_->registrations.remove(*this);
        release();
    }

    bool belongs_to(const std::shared_ptr<LoopState>& loop) const noexcept { return loop_ == loop; }

    template <class Handler>
    void wait(boost::asio::posix::descriptor_base::wait_type what, Handler handler) {
        descriptor_->async_wait(what, std::move(handler));
    }
    void cancel() noexcept {
        boost::system::error_code ignored;
        if (descriptor_) descriptor_->cancel(ignored);
    }
    /// Removes the descriptor from the reactor, which ends waits for it. The owner of the descriptor closes it.
    void release() noexcept {
        try {
            if (descriptor_) descriptor_->release();
        } catch (const std::exception&) {
        }
        descriptor_.reset();
    }

private:
    std::shared_ptr<LoopState> loop_;
    std::optional<boost::asio::posix::stream_descriptor> descriptor_;
};

/// A service of the execution context. It releases the library's objects in the context before the context is
/// destroyed.
class EventLoop final : public boost::asio::execution_context::service {
public:
    using key_type = EventLoop;
    inline static boost::asio::execution_context::id id;

    explicit EventLoop(boost::asio::execution_context& context) : service(context) {}

    /// The state in the executor's context. The executor must not track outstanding work.
    static std::shared_ptr<LoopState> state_of(const boost::asio::any_io_executor& executor) {
        boost::asio::execution_context& context = boost::asio::query(executor, boost::asio::execution::context);
        if (!boost::asio::has_service<EventLoop>(context)) {
            // Creates the services of reactor and timers first: services are shut down in reverse order of their
            // creation, and this one must be shut down before those.
            const boost::asio::posix::stream_descriptor descriptor{executor};
            const boost::asio::basic_waitable_timer<Clock> timer{executor};
        }
        return boost::asio::use_service<EventLoop>(context).state_;
    }

private:
    void shutdown() override {
        {
            const std::lock_guard lock{state_->mutex};
            state_->is_shut_down = true;
            while (Registration* const registration = state_->registrations.front()) {
                state_->registrations.remove(*registration);
                registration->release();
            }
        }
        state_->timer_wheel->shutdown();
    }

    void notify_fork(boost::asio::execution_context::fork_event event) override {
        if (event == boost::asio::execution_context::fork_child) state_->timer_wheel->on_fork_child();
    }

    const std::shared_ptr<LoopState> state_ = std::make_shared<LoopState>();
};

}  // namespace kombu::detail
