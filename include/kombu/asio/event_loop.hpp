// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/parking.hpp>

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

/// What the library keeps with somebody's execution context (an io_context, a thread_pool), and how that ends.
namespace kombu::detail {

class Registration;

/// What outlives the context, for those who come to remove themselves later.
struct LoopState {
    ForkSafeMutex mutex{};
    bool ended = false;
    LinkedList<Registration> registrations{};
    const std::shared_ptr<ParkingLot> parking = std::make_shared<ParkingLot>();
};

/// A descriptor in the context's reactor. It stays between operations, since entering it costs system calls.
class Registration : public Linked<Registration> {
public:
    Registration(std::shared_ptr<LoopState> loop, boost::asio::any_io_executor executor, int descriptor)
        : loop_(std::move(loop)), descriptor_(std::in_place, std::move(executor), descriptor) {
        const std::lock_guard lock{loop_->mutex};
        loop_->registrations.push(*this);
    }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() {
        const std::lock_guard lock{loop_->mutex};
        if (loop_->ended) return;
        loop_->registrations.remove(*this);
        release();
    }

    bool is_of(const std::shared_ptr<LoopState>& loop) const noexcept { return loop_ == loop; }

    template <class Handler>
    void wait(boost::asio::posix::descriptor_base::wait_type what, Handler handler) {
        descriptor_->async_wait(what, std::move(handler));
    }
    void cancel() noexcept {
        boost::system::error_code ignored;
        if (descriptor_) descriptor_->cancel(ignored);
    }
    /// Takes it out of the reactor; whoever waits is told. The descriptor itself is its owner's.
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

/// The context's service: ends what the library has there before the context is gone.
class EventLoop final : public boost::asio::execution_context::service {
public:
    using key_type = EventLoop;
    inline static boost::asio::execution_context::id id;

    explicit EventLoop(boost::asio::execution_context& context) : service(context) {}

    /// What the executor's context has. The executor is one that counts no work.
    static std::shared_ptr<LoopState> of(const boost::asio::any_io_executor& executor) {
        boost::asio::execution_context& context = boost::asio::query(executor, boost::asio::execution::context);
        if (!boost::asio::has_service<EventLoop>(context)) {
            // The reactor and the timers first: what is made later ends earlier, and this must end before them.
            const boost::asio::posix::stream_descriptor descriptor{executor};
            const boost::asio::basic_waitable_timer<Clock> timer{executor};
        }
        return boost::asio::use_service<EventLoop>(context).state_;
    }

private:
    void shutdown() override {
        {
            const std::lock_guard lock{state_->mutex};
            state_->ended = true;
            while (Registration* const registration = state_->registrations.front()) {
                state_->registrations.remove(*registration);
                registration->release();
            }
        }
        state_->parking->end();
    }

    void notify_fork(boost::asio::execution_context::fork_event event) override {
        if (event == boost::asio::execution_context::fork_child) state_->parking->forked();
    }

    const std::shared_ptr<LoopState> state_ = std::make_shared<LoopState>();
};

}  // namespace kombu::detail
