// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/error.hpp>
#include <kombu/asio/event_loop.hpp>
#include <kombu/operation.hpp>

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

    explicit OperationRunner(const Executor& executor) : work_(executor) {}
    OperationRunner(const OperationRunner&) = delete;
    OperationRunner& operator=(const OperationRunner&) = delete;
    ~OperationRunner() override = default;

    /// Resumes the operation for the first time, in the initiating function. The object may be gone afterwards.
    /// `operation`: a reference; the operation itself belongs to the derived class.
    void run(Ref ref, async::OperationHandle operation) {
        operation_ = operation;
        operation_.set_waker(*this);
        resume_until_wait({.read = true});
        release_ref(std::move(ref), false);
    }

    /// For an operation that has ended already: posts its delivery.
    void finish(Ref ref) {
        finished_ = true;
        release_ref(std::move(ref), false);
    }

    /// From any thread.
    void cancel() {
        Ref ref{this};
        cancelled_.store(true);
        if (try_complete_wait(wait_state_.load() / wait_id_step, cancel_event)) post_resume();
        release_ref(std::move(ref), false);
    }

    /// Ends the registration of the descriptor that the last wait was for. Call before the operation is destroyed,
    /// which may close the descriptor.
    void drop_registration() noexcept { registered_.reset(); }

    /// Stores the error, or without one the result, and destroys the operation, which then releases what it held: the
    /// handler may acquire the same.
    virtual void end(std::exception_ptr error) noexcept = 0;
    /// Destroys the object and calls the user's handler.
    virtual void deliver() = 0;
    /// Destroys the object without a call.
    virtual void destroy() noexcept = 0;

    boost::asio::executor_work_guard<Executor> work_;

private:
    /// The handler of all that the operation waits for and posts. One type, since each one that Asio is given costs its
    /// users half a second to compile.
    struct StepHandler {
        enum class Step : std::uint8_t { on_event, resume, release };
        using executor_type = Executor;
        // Not the allocator of the user's handler: several of these may be allocated at once, on several threads.
        using allocator_type = DefaultAllocator;

        Ref ref;
        Step step;
        // Of on_event:
        std::uint32_t wait_id = 0;
        std::uint32_t event = 0;

        executor_type get_executor() const noexcept { return ref.get()->work_.get_executor(); }
        allocator_type get_allocator() const noexcept { return {}; }
        void operator()(const boost::system::error_code& error = {}) {
            OperationRunner* const self = ref.get();
            // A wait that this operation did not cancel itself must be armed again. Other errors show when the
            // descriptor is used.
            if (step == Step::resume ||
                (step == Step::on_event &&
                 self->try_complete_wait(wait_id,
                                         error == boost::asio::error::operation_aborted ? cancel_event : event)))
                self->on_wait_completed();
            self->release_ref(std::move(ref), true);
        }
    };
    StepHandler handler_of(std::uint32_t wait_id, std::uint32_t event) noexcept {
        return {Ref{this}, StepHandler::Step::on_event, wait_id, event};
    }

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

    KOMBU_NOINLINE void post_resume() noexcept { boost::asio::post(StepHandler{Ref{this}, StepHandler::Step::resume}); }

    void on_wait_completed() {
        disarm();
        resume_until_wait(ready_of(wait_state_.load()));
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
                disarm();
                end(std::current_exception());
                break;
            }
            if (!completed) return;
            disarm();
            ready = ready_of(wait_state_.load());
        }
        finished_ = true;
    }

    /// Sets up a wait.
    /// \return true when an event has occurred already
    KOMBU_NOINLINE bool arm(const async::Wait& wait) {
        const std::uint32_t wait_id = wait_state_.load() / wait_id_step % (UINT32_MAX / wait_id_step) + 1;
        wait_state_.store(wait_id * wait_id_step | arm_in_progress | (wait.signal ? wakeable : 0));
        waits_for_descriptor_ = in_wheel_ = false;
        if (wait.handle) {
            registered_ = registration_of(*wait.handle);
            waits_for_descriptor_ = true;
            registered_->wait(boost::asio::posix::descriptor_base::wait_read, handler_of(wait_id, read_event));
            if (wait.write)
                registered_->wait(boost::asio::posix::descriptor_base::wait_write, handler_of(wait_id, write_event));
        }
        // Without a deadline too, a wait for a signal is in the wheel: its event loop drops it when it is shut down.
        if (wait.signal || !wait.until.is_never()) add_to_wheel(wait.until);
        if (wait.signal && signalled_.load()) try_complete_wait(wait_id, signal_event);
        if (cancelled_.load()) try_complete_wait(wait_id, cancel_event);
        return (wait_state_.fetch_and(~std::uint32_t{arm_in_progress}) & completed_mask) != 0;
    }

    /// Cancels what arm() has set up and is still pending.
    KOMBU_NOINLINE void disarm() {
        if (waits_for_descriptor_) {
            registered_->cancel();
            registered_.reset();
        }
        if (in_wheel_) remove_from_wheel();
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
        if (!loop()->timer_wheel->add(*this, deadline, [this] { return untracked_executor(); })) return;
        wheel_ref.dismiss();
        in_wheel_ = true;
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
        boost::asio::post(StepHandler{Ref{this}, StepHandler::Step::release});
    }

    async::OperationHandle operation_{};
    std::shared_ptr<Registration> registered_{};
    std::shared_ptr<LoopState> loop_{};
    std::atomic<std::uint32_t> references_{0};
    std::atomic<std::uint32_t> wait_state_{0};
    std::atomic<bool> signalled_{false};
    std::atomic<bool> cancelled_{false};
    std::atomic<bool> finished_{false};
    bool waits_for_descriptor_ = false;
    bool in_wheel_ = false;
};

}  // namespace kombu::detail
