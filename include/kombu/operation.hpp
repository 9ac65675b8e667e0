// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace kombu {

/// A descriptor that operations wait for, and what a driver keeps with it between two waits (its registration with an
/// event loop). Whoever closes the descriptor resets the registration first.
struct WaitHandle {
    int descriptor = -1;
    std::shared_ptr<void> registration{};
    /// When there is one, a driver that registers the descriptor sets it: in a forked child its number then stands for
    /// something that is always ready, since event loops do not expect their descriptors to vanish.
    std::atomic<bool>* registered = nullptr;
};

/// What a suspended operation waits for: the first of these.
struct Wait {
    /// Readable, or closed, or failed.
    WaitHandle* handle = nullptr;
    /// Or writable.
    bool write = false;
    /// Or that the operation's waker is called.
    bool signal = false;
    /// Or this time.
    Deadline until = Deadline::never();
    /// Where a driver may put what it reads as it waits, when only reading is waited for and recv(2) does it.
    char* into = nullptr;
    std::size_t size = 0;
};

/// What came. Nothing: the time.
struct Ready {
    bool read = false;
    bool write = false;
    bool signal = false;
    /// How much the driver has read, when it has; 0 at the peer's end.
    std::optional<std::size_t> received{};
    explicit operator bool() const noexcept { return read || write || signal; }
};

/// Ends a Wait for a signal, from any thread. A call that comes before the operation waits is not lost; a wait may also
/// end without a call. Whoever calls holds a lock that the operation takes before it ends, so that the waker is there.
class Waker {
public:
    virtual void wake() noexcept = 0;

protected:
    ~Waker() = default;
};

/// `co_await NeedInput{until}` in an operation on a session: go on when the session was fed (true), or when `until` has
/// passed (false). Whoever runs the operation for the session turns it into a Wait.
struct NeedInput {
    Deadline until = Deadline::never();
};

/// `co_await ask_waker` in an operation: its waker, at once.
struct AskWaker {};
inline constexpr AskWaker ask_waker{};

namespace detail {

/// What the outermost operation shares with those it awaits.
struct OperationContext {
    std::coroutine_handle<> innermost{};
    Wait wait{};
    Ready ready{};
    Waker* waker = nullptr;
};

class PromiseBase {
public:
    std::suspend_always initial_suspend() const noexcept { return {}; }
    void unhandled_exception() noexcept { error_ = std::current_exception(); }

    struct Final {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
            PromiseBase& promise = self.promise();
            if (!promise.awaited_by_) return std::noop_coroutine();
            promise.context_->innermost = promise.awaited_by_;
            return promise.awaited_by_;
        }
        void await_resume() const noexcept {}
    };
    Final final_suspend() const noexcept { return {}; }

    struct WaitAwaiter {
        OperationContext& context;
        Wait wait;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> self) const noexcept {
            context.innermost = self;
            context.wait = wait;
        }
        Ready await_resume() const noexcept { return context.ready; }
    };
    struct InputAwaiter : WaitAwaiter {
        bool await_resume() const noexcept { return context.ready.read; }
    };
    struct WakerAwaiter {
        Waker& waker;
        bool await_ready() const noexcept { return true; }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        Waker& await_resume() const noexcept { return waker; }
    };
    WaitAwaiter await_transform(Wait wait) noexcept { return {*context_, wait}; }
    InputAwaiter await_transform(NeedInput need) noexcept { return {{*context_, {.until = need.until}}}; }
    WakerAwaiter await_transform(AskWaker) noexcept { return {*context_->waker}; }
    template <class Awaitable>
    Awaitable&& await_transform(Awaitable&& awaitable) noexcept {
        awaitable.set_context(*context_);
        return std::forward<Awaitable>(awaitable);
    }

    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

    OperationContext own_context_{};  // of the outermost one; here, since operations move
    OperationContext* context_ = nullptr;
    std::coroutine_handle<> awaited_by_{};

private:
    std::exception_ptr error_{};
};

template <class T>
class Promise;

}  // namespace detail

/// What a driver does with an operation, whatever that returns. Refers to it.
class OperationSteps {
public:
    OperationSteps(detail::PromiseBase& promise, std::coroutine_handle<> self) noexcept
        : promise_(&promise), self_(self) {}

    /// Before the first resume(), when the operation may wait for signals. The waker outlives the operation.
    void set_waker(Waker& waker) noexcept { promise_->own_context_.waker = &waker; }
    /// Runs until the operation is done (true) or waits (false). `ready`: what it waited for.
    bool resume(Ready ready) {
        detail::OperationContext& context = promise_->own_context_;
        if (!promise_->context_) {
            context.innermost = self_;
            promise_->context_ = &context;
        }
        context.ready = ready;
        context.wait = {};
        context.innermost.resume();
        return self_.done();
    }
    /// What a suspended operation waits for.
    const Wait& wait() const noexcept { return promise_->own_context_.wait; }

private:
    detail::PromiseBase* promise_;
    std::coroutine_handle<> self_;
};

/// Something that takes time, written once for every way of waiting: a coroutine that says what it waits for and never
/// blocks. Drivers do the waiting: the blocking calls of this library on the caller's thread, those of kombu/asio.hpp
/// on an executor.
///
/// It does not begin before it is resumed. What it was given by reference must outlive it. A suspended operation may be
/// destroyed: it is cancelled then, and puts in order what it has left half-done.
template <class T = void>
class [[nodiscard]] Operation {
public:
    using promise_type = detail::Promise<T>;

    Operation(Operation&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;
    Operation& operator=(Operation&&) = delete;
    ~Operation() {
        if (self_) self_.destroy();
    }

    // -- for drivers
    OperationSteps steps() noexcept { return {self_.promise(), self_}; }
    bool resume(Ready ready = {.read = true}) { return steps().resume(ready); }
    const Wait& wait() const noexcept { return self_.promise().own_context_.wait; }
    /// What a finished operation returned, or throws what it threw.
    T result() { return self_.promise().result(); }

    // -- for co_await in another operation
    void set_context(detail::OperationContext& context) noexcept { self_.promise().context_ = &context; }
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> outer) noexcept {
        self_.promise().awaited_by_ = outer;
        return self_;
    }
    T await_resume() { return result(); }

private:
    friend promise_type;
    explicit Operation(std::coroutine_handle<promise_type> self) noexcept : self_(self) {}

    std::coroutine_handle<promise_type> self_;
};

namespace detail {

template <class T>
class Promise : public PromiseBase {
public:
    Operation<T> get_return_object() noexcept {
        return Operation<T>{std::coroutine_handle<Promise>::from_promise(*this)};
    }
    template <class Value>
    void return_value(Value&& value) {
        value_.emplace(std::forward<Value>(value));
    }
    T result() {
        rethrow();
        return std::move(*value_);
    }

private:
    std::optional<T> value_{};
};

template <>
class Promise<void> : public PromiseBase {
public:
    Operation<void> get_return_object() noexcept {
        return Operation<void>{std::coroutine_handle<Promise>::from_promise(*this)};
    }
    void return_void() const noexcept {}
    void result() const { rethrow(); }
};

}  // namespace detail
}  // namespace kombu
