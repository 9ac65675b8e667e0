#pragma once

#include <kombu/deadline.hpp>

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace kombu::net {

/// `co_await NeedInput{until}` in an operation: go on when the session was fed (true), or when `until` has passed
/// (false).
struct NeedInput {
    Deadline until = Deadline::never();
};

namespace detail {

/// What the outermost operation shares with those it awaits.
struct OperationContext {
    std::coroutine_handle<> innermost{};
    Deadline until = Deadline::never();
    bool input = true;
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

    struct InputAwaiter {
        OperationContext& context;
        Deadline until;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> self) const noexcept {
            context.innermost = self;
            context.until = until;
        }
        bool await_resume() const noexcept { return context.input; }
    };
    InputAwaiter await_transform(NeedInput need) noexcept { return {*context_, need.until}; }
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

/// A protocol operation, written once, without I/O: a coroutine that puts bytes into its session's output and asks for
/// input when it must know the answer. Drivers do the reading, the writing and the waiting (blocking_driver.hpp).
///
/// A suspended operation may be destroyed; its session is then in the middle of an exchange.
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

    /// Runs until the operation is done (true) or needs input (false). `input`: whether there is news since it asked.
    bool resume(bool input = true) {
        detail::OperationContext& context = self_.promise().own_context_;
        if (!self_.promise().context_) {
            context.innermost = self_;
            self_.promise().context_ = &context;
        }
        context.input = input;
        context.until = Deadline::never();
        context.innermost.resume();
        return self_.done();
    }

    /// Until when the operation wants to wait for input.
    Deadline until() const noexcept { return self_.promise().own_context_.until; }

    /// What a finished operation returned, or throws what it threw.
    T result() { return self_.promise().result(); }

    // For co_await in another operation.
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
}  // namespace kombu::net
