// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/error.hpp>
#include <kombu/asio/event_loop.hpp>
#include <kombu/operation.hpp>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/cancellation_type.hpp>
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
#include <type_traits>
#include <utility>

namespace kombu::detail {

/// How an operation ended: with an error, or a value (`std::monostate` for none).
template <class Value>
struct Outcome {
    std::exception_ptr error{};
    std::optional<Value> value{};
};

/// Of handlers that have none of their own: keeps some memory for the next operation of the same thread.
using DefaultAllocator = boost::asio::recycling_allocator<void>;

/// An operation driven on an executor: the asynchronous counterpart of net::BlockingDriver.
///
/// Everything of it runs on the executor, except its first steps, which run in the initiating function, and what others
/// tell it: wake() and a cancellation, which only mark what has come and post the rest. Of several events that a wait
/// may end with, the first one claims it (`phase_`). It lives as long as anything refers to it: the handlers of its
/// waits, a signal that may come. Its own handler is called when the last of these has gone, so nothing of it is left
/// by then, as Asio asks.
template <class T, class Completion, class Handler, class Executor>
class RunningOperation final : public async::Waker, public Parked {
    using Value = typename Completion::Value;
    using Allocator = boost::asio::associated_allocator_t<Handler, DefaultAllocator>;
    using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Executor>;
    using OwnAllocator = typename std::allocator_traits<Allocator>::template rebind_alloc<RunningOperation>;
    using OwnTraits = std::allocator_traits<OwnAllocator>;

public:
    /// `total_cancellation`: also this kind can be honoured, since the operation has no effect before its end.
    static void start(async::Operation<T> operation, Handler handler, const Executor& executor,
                      bool total_cancellation) {
        OwnAllocator allocator{allocator_of(handler)};
        RunningOperation* const self = OwnTraits::allocate(allocator, 1);
        try {
            new (self) RunningOperation(std::move(operation), std::move(handler), executor);
        } catch (...) {
            OwnTraits::deallocate(allocator, self, 1);
            throw;
        }
        Ref begun{self};
        self->listen_for_cancellation(total_cancellation);
        self->go_on({.read = true});
        self->leave(std::move(begun), false);
    }

    // Waker
    void wake() noexcept override {
        signalled_.store(true);
        const std::uint32_t phase = phase_.load();
        if ((phase & listening) && claim(phase / turn_step, signal)) later();
    }
    // Parked
    void expired() noexcept override {
        if (claim(phase_.load() / turn_step, time)) later();
    }
    void drop() noexcept override { Ref::adopt(this); }

private:
    /// Counted, so that the last of those who refer to the operation ends it.
    class Ref {
    public:
        explicit Ref(RunningOperation* self) noexcept : self_(self) { self->references_.fetch_add(1); }
        Ref(Ref&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
        Ref& operator=(Ref&&) = delete;
        ~Ref() {
            // Destroyed and not called: the executor's context has ended.
            if (self_ && self_->references_.fetch_sub(1) == 1) self_->destroy();
        }
        static Ref adopt(RunningOperation* self) noexcept {
            Ref ref{self};
            self->references_.fetch_sub(1);
            return ref;
        }
        RunningOperation* get() const noexcept { return self_; }
        /// From now on something else stands for it.
        void keep() noexcept { self_ = nullptr; }
        /// Whether it was the last.
        bool give_up() noexcept { return std::exchange(self_, nullptr)->references_.fetch_sub(1) == 1; }

    private:
        RunningOperation* self_;
    };

    /// What all of the operation's own handlers have.
    struct OwnHandler {
        using executor_type = Executor;
        // Not that of the handler: several of these may come and go at once, on several threads.
        using allocator_type = DefaultAllocator;
        executor_type get_executor() const noexcept { return self.get()->work_.get_executor(); }
        allocator_type get_allocator() const noexcept { return {}; }
        Ref self;
    };
    /// A wait has ended with `what`, or was cancelled.
    struct Event : OwnHandler {
        std::uint32_t turn;
        std::uint32_t what;
        void operator()(const boost::system::error_code& error) {
            RunningOperation* const running = this->self.get();
            // One that this operation did not cancel itself has to be set up again; other errors show themselves when
            // the descriptor is used.
            if (running->claim(turn, error == boost::asio::error::operation_aborted ? cancel : what))
                running->continue_after();
            running->leave(std::move(this->self), true);
        }
    };
    /// Goes on after what was told from elsewhere.
    struct Later : OwnHandler {
        void operator()() {
            RunningOperation* const running = this->self.get();
            running->continue_after();
            running->leave(std::move(this->self), true);
        }
    };
    struct Deliver : OwnHandler {
        void operator()() { this->self.get()->leave(std::move(this->self), true); }
    };

    // phase_: the number of the wait, and of it: whether it is being set up, whether wake() may end it, what has come.
    static constexpr std::uint32_t arming = 1, listening = 2, read = 4, write = 8, time = 16, signal = 32, cancel = 64;
    static constexpr std::uint32_t came = read | write | time | signal | cancel;
    static constexpr std::uint32_t turn_step = 128;

    RunningOperation(async::Operation<T> operation, Handler handler, const Executor& executor)
        : operation_(std::move(operation)), handler_(std::move(handler)), work_(executor) {
        operation_->handle().set_waker(*this);
    }
    ~RunningOperation() override = default;

    static Allocator allocator_of(const Handler& handler) noexcept {
        return boost::asio::get_associated_allocator(handler, DefaultAllocator{});
    }

    void destroy() noexcept {
        OwnAllocator allocator{allocator_of(*handler_)};
        this->~RunningOperation();
        OwnTraits::deallocate(allocator, this, 1);
    }

    void listen_for_cancellation(bool total_too) {
        auto slot = boost::asio::get_associated_cancellation_slot(*handler_);
        if (!slot.is_connected()) return;
        slot.assign([this, total_too](boost::asio::cancellation_type_t type) {
            using boost::asio::cancellation_type;
            const auto honoured = cancellation_type::terminal | cancellation_type::partial |
                                  (total_too ? cancellation_type::total : cancellation_type::none);
            if ((type & honoured) == cancellation_type::none) return;
            Ref self{this};
            cancelled_.store(true);
            if (claim(phase_.load() / turn_step, cancel)) later();
            leave(std::move(self), false);
        });
    }

    /// The first of the events of a wait gets it. True: whoever brought it goes on. (Else it came too late, or somebody
    /// who is still setting the wait up sees it.)
    bool claim(std::uint32_t turn, std::uint32_t what) noexcept {
        std::uint32_t phase = phase_.load();
        do {
            if (phase / turn_step != turn || (phase & came) || turn == 0 || over_) return false;
        } while (!phase_.compare_exchange_weak(phase, phase | what));
        return !(phase & arming);
    }

    void later() noexcept { boost::asio::post(Later{{Ref{this}}}); }

    void continue_after() {
        const std::uint32_t phase = phase_.load();
        disarm(phase);
        go_on(ready_of(phase));
    }

    static async::Ready ready_of(std::uint32_t phase) noexcept {
        return {.read = (phase & read) != 0, .write = (phase & write) != 0, .signal = (phase & signal) != 0};
    }

    void go_on(async::Ready ready) {
        for (;;) {
            if (cancelled_.load()) {
                operation_.reset();
                outcome_.error = std::make_exception_ptr(Cancelled("the operation was cancelled"));
                break;
            }
            signalled_.store(false);
            if (operation_->resume(ready)) {
                take_result();
                operation_.reset();  // lets go of what it held, before the handler asks for the same
                break;
            }
            bool came_already = false;
            try {
                came_already = arm(operation_->wait());
            } catch (...) {
                phase_.fetch_or(cancel);
                disarm(phase_.load());
                operation_.reset();
                outcome_.error = std::current_exception();
                break;
            }
            if (!came_already) return;
            const std::uint32_t phase = phase_.load();
            disarm(phase);
            ready = ready_of(phase);
        }
        over_ = true;
    }

    void take_result() noexcept {
        try {
            if constexpr (std::is_void_v<T>) {
                operation_->result();
                outcome_.value.emplace();
            } else {
                outcome_.value.emplace(operation_->result());
            }
        } catch (...) {
            outcome_.error = std::current_exception();
        }
    }

    /// Sets up a wait. True when something has come already.
    bool arm(const async::Wait& wait) {
        const std::uint32_t turn = phase_.load() / turn_step % (UINT32_MAX / turn_step) + 1;
        phase_.store(turn * turn_step | arming | (wait.signal ? listening : 0));
        waits_for_descriptor_ = waits_for_time_ = waits_for_signal_ = false;
        if (wait.handle) {
            registered_ = registration_of(*wait.handle);
            waits_for_descriptor_ = true;
            registered_->wait(boost::asio::posix::descriptor_base::wait_read, Event{{Ref{this}}, turn, read});
            if (wait.write)
                registered_->wait(boost::asio::posix::descriptor_base::wait_write, Event{{Ref{this}}, turn, write});
        }
        if (wait.signal) {
            park(wait.until);
        } else if (!wait.until.is_never()) {
            if (!timer_) timer_.emplace(work_.get_executor());
            timer_->expires_at(wait.until.when());
            timer_->async_wait(Event{{Ref{this}}, turn, time});
            waits_for_time_ = true;
        }
        if (wait.signal && signalled_.load()) claim(turn, signal);
        if (cancelled_.load()) claim(turn, cancel);
        return (phase_.fetch_and(~std::uint32_t{arming}) & came) != 0;
    }

    /// Ends what a wait has set up, after `phase` came.
    void disarm(std::uint32_t phase) {
        if (waits_for_descriptor_) {
            registered_->cancel();
            registered_.reset();
        }
        if (waits_for_signal_) unpark();
        if (waits_for_time_ && !(phase & time)) timer_->cancel();
    }

    /// For what outlives the operation: counts no work.
    boost::asio::any_io_executor plain_executor() const {
        return boost::asio::prefer(work_.get_executor(), boost::asio::execution::outstanding_work.untracked);
    }
    const std::shared_ptr<LoopState>& loop() {
        if (!loop_) loop_ = EventLoop::of(plain_executor());
        return loop_;
    }

    std::shared_ptr<Registration> registration_of(async::WaitHandle& handle) {
        auto known = std::static_pointer_cast<Registration>(handle.registration);
        if (known && known->is_of(loop())) return known;
        handle.registration.reset();
        known.reset();
        if (handle.registered) handle.registered->store(true);
        auto fresh = std::make_shared<Registration>(loop(), plain_executor(), handle.descriptor);
        handle.registration = fresh;
        return fresh;
    }

    /// While it is parked, the lot refers to it.
    void park(Deadline until) {
        Ref of_lot{this};
        if (!loop()->parking->enter(*this, until, plain_executor())) return;
        of_lot.keep();
        waits_for_signal_ = true;
    }
    void unpark() noexcept {
        // Not the last reference: whoever calls this has one. A lot that has ended gives it back by drop().
        if (loop_->parking->leave(*this)) references_.fetch_sub(1);
    }

    /// One who referred to it goes. `on_executor`: the handler may be called here.
    void leave(Ref self, bool on_executor) {
        if (!self.give_up()) return;
        if (!over_) return destroy();
        if (on_executor) return deliver();
        boost::asio::post(Deliver{{Ref{this}}});
    }

    void deliver() {
        auto slot = boost::asio::get_associated_cancellation_slot(*handler_);
        if (slot.is_connected()) slot.clear();
        Handler handler = std::move(*handler_);
        Outcome<Value> outcome = std::move(outcome_);
        const auto work = std::move(work_);
        OwnAllocator allocator{allocator_of(handler)};
        this->~RunningOperation();
        OwnTraits::deallocate(allocator, this, 1);
        Completion::complete(std::move(handler), std::move(outcome));
    }

    std::optional<async::Operation<T>> operation_;
    std::optional<Handler> handler_;
    boost::asio::executor_work_guard<Executor> work_;
    std::optional<Timer> timer_{};
    std::shared_ptr<Registration> registered_{};
    std::shared_ptr<LoopState> loop_{};
    Outcome<Value> outcome_{};
    std::atomic<std::uint32_t> references_{0};
    std::atomic<std::uint32_t> phase_{0};
    std::atomic<bool> signalled_{false};
    std::atomic<bool> cancelled_{false};
    std::atomic<bool> over_{false};
    bool waits_for_descriptor_ = false;
    bool waits_for_time_ = false;
    bool waits_for_signal_ = false;
};

}  // namespace kombu::detail
