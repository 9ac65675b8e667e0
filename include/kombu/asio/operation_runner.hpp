// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/error.hpp>
#include <kombu/asio/event_loop.hpp>
#include <kombu/operation.hpp>

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/recycling_allocator.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace kombu::detail {

/// The allocator of handlers without one: keeps some memory for the next operation of the same thread.
using DefaultAllocator = boost::asio::recycling_allocator<void>;

/// Runs an operation on an executor: its waits, its wakes, its cancellation. What depends on the type of the result and
/// of the user's handler is in RunningOperation, so that this is compiled once for each executor.
///
/// All steps run on the executor, except the first ones, which run in the initiating function. wake() and a
/// cancellation may come from other threads: they only record their event in `wait_state_` and post the next step.
/// The first event of a wait completes it; later ones are ignored.
///
/// \par Lifetime
/// The object exists as long as anything refers to it: the handlers of its waits, the timer wheel. The user's handler
/// is called after the last reference is gone and the memory is freed, as Asio requires.
template <class Executor>
class OperationRunner : public async::Waker, public WheelEntry {
    using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Executor>;

public:
    // Waker
    void wake() noexcept override {
        signalled_.store(true);
        const std::uint32_t state = wait_state_.load();
        if ((state & wakeable) && try_complete_wait(state / wait_id_step, signal_event)) post_resume();
    }
    // WheelEntry
    void on_expired() noexcept override {
        if (try_complete_wait(wait_state_.load() / wait_id_step, deadline_event)) post_resume();
    }
    void on_shutdown() noexcept override { Ref::adopt(this); }

protected:
    /// A counted reference. The last one to be released ends the operation.
    class Ref {
    public:
        explicit Ref(OperationRunner* self) noexcept : self_(self) { self->references_.fetch_add(1); }
        Ref(Ref&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
        Ref& operator=(Ref&&) = delete;
        ~Ref() {
            // The handler is destroyed without a call: the execution context was shut down.
            if (self_ && self_->references_.fetch_sub(1) == 1) self_->destroy();
        }
        static Ref adopt(OperationRunner* self) noexcept {
            Ref ref{self};
            self->references_.fetch_sub(1);
            return ref;
        }
        OperationRunner* get() const noexcept { return self_; }
        /// Does not release the reference: the timer wheel holds it from now on.
        void dismiss() noexcept { self_ = nullptr; }
        /// \return whether it was the last reference
        bool release() noexcept { return std::exchange(self_, nullptr)->references_.fetch_sub(1) == 1; }

    private:
        OperationRunner* self_;
    };

    /// `operation`: a reference; the operation itself belongs to the derived class.
    OperationRunner(const Executor& executor, async::OperationHandle operation)
        : work_(executor), operation_(operation) {
        operation_.set_waker(*this);
    }
    OperationRunner(const OperationRunner&) = delete;
    OperationRunner& operator=(const OperationRunner&) = delete;
    ~OperationRunner() override = default;

    /// Resumes the operation for the first time, in the initiating function. The object may be gone afterwards.
    void run(Ref ref) {
        resume_until_wait({.read = true});
        release_ref(std::move(ref), false);
    }

    /// From any thread.
    void cancel() {
        Ref ref{this};
        cancelled_.store(true);
        if (try_complete_wait(wait_state_.load() / wait_id_step, cancel_event)) post_resume();
        release_ref(std::move(ref), false);
    }

    /// Stores the error, or without one the result, and destroys the operation, which then releases what it held: the
    /// handler may acquire the same.
    virtual void end(std::exception_ptr error) noexcept = 0;
    /// Destroys the object and calls the user's handler.
    virtual void deliver() = 0;
    /// Destroys the object without a call.
    virtual void destroy() noexcept = 0;

    boost::asio::executor_work_guard<Executor> work_;

private:
    /// The base of the operation's internal handlers.
    struct InternalHandler {
        using executor_type = Executor;
        // Not the allocator of the user's handler: several of these may be allocated at once, on several threads.
        using allocator_type = DefaultAllocator;
        executor_type get_executor() const noexcept { return ref.get()->work_.get_executor(); }
        allocator_type get_allocator() const noexcept { return {}; }
        Ref ref;
    };
    /// The handler of one event of a wait: the event has occurred, or was cancelled.
    struct WaitHandler : InternalHandler {
        std::uint32_t wait_id;
        std::uint32_t event;
        void operator()(const boost::system::error_code& error) {
            OperationRunner* const operation = this->ref.get();
            // A wait that this operation did not cancel itself must be armed again. Other errors show when the
            // descriptor is used.
            if (operation->try_complete_wait(wait_id,
                                             error == boost::asio::error::operation_aborted ? cancel_event : event))
                operation->on_wait_completed();
            operation->release_ref(std::move(this->ref), true);
        }
    };
    /// Resumes the operation after an event from another thread.
    struct ResumeHandler : InternalHandler {
        void operator()() {
            OperationRunner* const operation = this->ref.get();
            operation->on_wait_completed();
            operation->release_ref(std::move(this->ref), true);
        }
    };
    struct DeliverHandler : InternalHandler {
        void operator()() { this->ref.get()->release_ref(std::move(this->ref), true); }
    };

    // wait_state_: the id of the wait, times wait_id_step, and these bits: arm() is in progress; wake() may complete
    // the wait; the event that completed it.
    static constexpr std::uint32_t arm_in_progress = 1, wakeable = 2, read_event = 4, write_event = 8,
                                   deadline_event = 16, signal_event = 32, cancel_event = 64;
    static constexpr std::uint32_t completed_mask =
        read_event | write_event | deadline_event | signal_event | cancel_event;
    static constexpr std::uint32_t wait_id_step = 128;

    /// Completes a wait with its first event.
    /// \return true when the caller must resume the operation; false when another event came first, or arm() is still
    ///   in progress and will see this one
    KOMBU_NOINLINE bool try_complete_wait(std::uint32_t wait_id, std::uint32_t event) noexcept {
        std::uint32_t state = wait_state_.load();
        do {
            if (state / wait_id_step != wait_id || (state & completed_mask) || wait_id == 0 || finished_) return false;
        } while (!wait_state_.compare_exchange_weak(state, state | event));
        return !(state & arm_in_progress);
    }

    KOMBU_NOINLINE void post_resume() noexcept { boost::asio::post(ResumeHandler{{Ref{this}}}); }

    void on_wait_completed() {
        const std::uint32_t state = wait_state_.load();
        disarm(state);
        resume_until_wait(ready_of(state));
    }

    static async::Ready ready_of(std::uint32_t state) noexcept {
        return {.read = (state & read_event) != 0,
                .write = (state & write_event) != 0,
                .signal = (state & signal_event) != 0};
    }

    KOMBU_NOINLINE void resume_until_wait(async::Ready ready) {
        for (;;) {
            if (cancelled_.load()) {
                end(std::make_exception_ptr(Cancelled("the operation was cancelled")));
                break;
            }
            signalled_.store(false);
            if (operation_.resume(ready)) {
                end(nullptr);
                break;
            }
            bool completed = false;
            try {
                completed = arm(operation_.wait());
            } catch (...) {
                wait_state_.fetch_or(cancel_event);
                disarm(wait_state_.load());
                end(std::current_exception());
                break;
            }
            if (!completed) return;
            const std::uint32_t state = wait_state_.load();
            disarm(state);
            ready = ready_of(state);
        }
        finished_ = true;
    }

    /// Sets up a wait.
    /// \return true when an event has occurred already
    KOMBU_NOINLINE bool arm(const async::Wait& wait) {
        const std::uint32_t wait_id = wait_state_.load() / wait_id_step % (UINT32_MAX / wait_id_step) + 1;
        wait_state_.store(wait_id * wait_id_step | arm_in_progress | (wait.signal ? wakeable : 0));
        waits_for_descriptor_ = waits_for_time_ = waits_for_signal_ = false;
        if (wait.handle) {
            registered_ = registration_of(*wait.handle);
            waits_for_descriptor_ = true;
            registered_->wait(boost::asio::posix::descriptor_base::wait_read,
                              WaitHandler{{Ref{this}}, wait_id, read_event});
            if (wait.write)
                registered_->wait(boost::asio::posix::descriptor_base::wait_write,
                                  WaitHandler{{Ref{this}}, wait_id, write_event});
        }
        if (wait.signal) {
            add_to_wheel(wait.until);
        } else if (!wait.until.is_never()) {
            if (!timer_) timer_.emplace(work_.get_executor());
            timer_->expires_at(wait.until.when());
            timer_->async_wait(WaitHandler{{Ref{this}}, wait_id, deadline_event});
            waits_for_time_ = true;
        }
        if (wait.signal && signalled_.load()) try_complete_wait(wait_id, signal_event);
        if (cancelled_.load()) try_complete_wait(wait_id, cancel_event);
        return (wait_state_.fetch_and(~std::uint32_t{arm_in_progress}) & completed_mask) != 0;
    }

    /// Cancels what arm() has set up and is still pending, after the events in the given wait state.
    KOMBU_NOINLINE void disarm(std::uint32_t state) {
        if (waits_for_descriptor_) {
            registered_->cancel();
            registered_.reset();
        }
        if (waits_for_signal_) remove_from_wheel();
        if (waits_for_time_ && !(state & deadline_event)) timer_->cancel();
    }

    /// An executor for objects that outlive the operation: it does not track outstanding work.
    boost::asio::any_io_executor untracked_executor() const {
        return boost::asio::prefer(work_.get_executor(), boost::asio::execution::outstanding_work.untracked);
    }
    const std::shared_ptr<LoopState>& loop() {
        if (!loop_) loop_ = EventLoop::state_of(untracked_executor());
        return loop_;
    }

    KOMBU_NOINLINE std::shared_ptr<Registration> registration_of(async::WaitHandle& handle) {
        auto existing = std::static_pointer_cast<Registration>(handle.registration);
        if (existing && existing->belongs_to(loop())) return existing;
        handle.registration.reset();
        existing.reset();
        if (handle.registered) handle.registered->store(true);
        auto created = std::make_shared<Registration>(loop(), untracked_executor(), handle.descriptor);
        handle.registration = created;
        return created;
    }

    /// The timer wheel holds a reference while the operation is in it.
    KOMBU_NOINLINE void add_to_wheel(Deadline deadline) {
        Ref wheel_ref{this};
        if (!loop()->timer_wheel->add(*this, deadline, untracked_executor())) return;
        wheel_ref.dismiss();
        waits_for_signal_ = true;
    }
    void remove_from_wheel() noexcept {
        // Not the last reference: the caller has one. A wheel that was shut down releases it by on_shutdown().
        if (loop_->timer_wheel->remove(*this)) references_.fetch_sub(1);
    }

    /// Releases a reference. With `on_executor`, the user's handler may be called here.
    KOMBU_NOINLINE void release_ref(Ref ref, bool on_executor) {
        if (!ref.release()) return;
        if (!finished_) return destroy();
        if (on_executor) return deliver();
        boost::asio::post(DeliverHandler{{Ref{this}}});
    }

    async::OperationHandle operation_;
    std::optional<Timer> timer_{};
    std::shared_ptr<Registration> registered_{};
    std::shared_ptr<LoopState> loop_{};
    std::atomic<std::uint32_t> references_{0};
    std::atomic<std::uint32_t> wait_state_{0};
    std::atomic<bool> signalled_{false};
    std::atomic<bool> cancelled_{false};
    std::atomic<bool> finished_{false};
    bool waits_for_descriptor_ = false;
    bool waits_for_time_ = false;
    bool waits_for_signal_ = false;
};

}  // namespace kombu::detail
