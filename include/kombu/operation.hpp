// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

/// Operations and their drivers: for writers of transports and of drivers. Programs use the blocking members of
/// Connection, Producer and so on, or the async_ members that kombu/asio.hpp defines.
namespace kombu::async {

/// A descriptor that operations wait for, and the data that a driver keeps with it between two waits (its registration
/// with an event loop). The owner of the descriptor resets the registration before it closes the descriptor.
struct WaitHandle {
    /// The descriptor; -1: none.
    int descriptor = -1;
    /// The driver's own data.
    std::shared_ptr<void> registration{};
    /// When not null, a driver that registers the descriptor sets it. In a forked child the number of the descriptor
    /// then stands for one that is always ready, since event loops do not expect their descriptors to vanish.
    std::atomic<bool>* registered = nullptr;
};

/// The events that a suspended operation waits for. The first of them ends the wait.
struct Wait {
    /// The descriptor is readable, closed or failed.
    WaitHandle* handle = nullptr;
    /// The descriptor is writable.
    bool write = false;
    /// The waker of the operation is called.
    bool signal = false;
    /// This time is reached.
    Deadline until = Deadline::never();
    /// A buffer of `size` bytes that a driver may read into with recv(2), when the wait is for reading only.
    char* into = nullptr;
    /// The size of the buffer.
    std::size_t size = 0;
};

/// Which of the awaited events occurred; all false means that the deadline passed.
struct Ready {
    /// The descriptor is readable.
    bool read = false;
    /// The descriptor is writable.
    bool write = false;
    /// The waker was called.
    bool signal = false;
    /// The number of bytes that the driver has read, when it has; 0 at the end of the stream.
    std::optional<std::size_t> received{};
    /// Whether an event occurred, rather than the deadline.
    explicit operator bool() const noexcept { return read || write || signal; }
};

/// Ends a wait for a signal, from any thread. A call that comes before the wait is not lost; a wait may also end
/// without a call. The caller holds a lock that the operation takes before it ends, so that the waker exists during the
/// call.
class Waker {
public:
    /// Ends the wait of the operation.
    virtual void wake() noexcept = 0;

protected:
    ~Waker() = default;
};

/// `co_await AwaitInput{until}` in an operation on a session: continues when the session has received bytes (true) or
/// when `until` has passed (false). The session's driver turns it into a Wait.
struct AwaitInput {
    /// When to give up.
    Deadline until = Deadline::never();
    /// When not null, bytes for which this returns false do not resume the operation.
    bool (*is_enough)(const void* argument) noexcept = nullptr;
    /// Passed to is_enough.
    const void* argument = nullptr;
};

/// `co_await this_waker` in an operation returns its waker, without suspending.
struct ThisWaker {};
/// What an operation awaits for its waker.
inline constexpr ThisWaker this_waker{};

}  // namespace kombu::async

namespace kombu::detail {

/// The data that the outermost operation shares with those it awaits.
struct OperationContext {
    std::coroutine_handle<> innermost{};
    async::Wait wait{};
    async::AwaitInput input{};
    async::Ready ready{};
    async::Waker* waker = nullptr;

    void await_input(std::coroutine_handle<> self, const async::AwaitInput& need) noexcept {
        innermost = self;
        wait = {.until = need.until};
        input = need;
    }
};

/// Memory for the frame of an operation that its owner makes again and again, one at a time. Such an operation is
/// destroyed before its owner, by the thread that uses the owner.
class FrameMemory {
public:
    /// Null while it is in use.
    void* take(std::size_t size) {
        if (in_use_) return nullptr;
        if (size > size_) {
            memory_ = std::make_unique<std::byte[]>(size);
            size_ = size;
        }
        in_use_ = true;
        return memory_.get();
    }
    void give_back() noexcept { in_use_ = false; }

private:
    std::unique_ptr<std::byte[]> memory_{};
    std::size_t size_ = 0;
    bool in_use_ = false;
};

class PromiseBase {
public:
    static void* operator new(std::size_t size) { return after_header(::operator new(size + header_size), nullptr); }
    /// For a coroutine that is a member function: its object may provide memory for one frame.
    template <class Object, class... Arguments>
    requires requires(Object& object) {
        { object.frame_memory() } -> std::same_as<FrameMemory&>;
    }
    static void* operator new(std::size_t size, Object& object, Arguments&...) {
        FrameMemory& memory = object.frame_memory();
        void* const block = memory.take(size + header_size);
        return block ? after_header(block, &memory) : operator new(size);
    }
    static void operator delete(void* frame) noexcept {
        void* const block = static_cast<std::byte*>(frame) - header_size;
        if (FrameMemory* const memory = *static_cast<FrameMemory**>(block))
            memory->give_back();
        else
            ::operator delete(block);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }
    void unhandled_exception() noexcept { error_ = std::current_exception(); }

    struct FinalAwaiter {
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
    FinalAwaiter final_suspend() const noexcept { return {}; }

    struct WaitAwaiter {
        OperationContext& context;
        async::Wait wait;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> self) const noexcept {
            context.innermost = self;
            context.wait = wait;
        }
        async::Ready await_resume() const noexcept { return context.ready; }
    };
    struct InputAwaiter {
        OperationContext& context;
        async::AwaitInput need;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> self) const noexcept { context.await_input(self, need); }
        bool await_resume() const noexcept { return context.ready.read; }
    };
    struct WakerAwaiter {
        async::Waker& waker;
        bool await_ready() const noexcept { return true; }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        async::Waker& await_resume() const noexcept { return waker; }
    };
    WaitAwaiter await_transform(async::Wait wait) noexcept { return {*context_, wait}; }
    InputAwaiter await_transform(async::AwaitInput need) noexcept { return {*context_, need}; }
    WakerAwaiter await_transform(async::ThisWaker) noexcept { return {*context_->waker}; }
    template <class Awaitable>
    Awaitable&& await_transform(Awaitable&& awaitable) noexcept {
        awaitable.set_context(*context_);
        return std::forward<Awaitable>(awaitable);
    }

    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

    OperationContext own_context_{};  // of the outermost operation; stored here because operations are movable
    OperationContext* context_ = nullptr;
    std::coroutine_handle<> awaited_by_{};

private:
    static constexpr std::size_t header_size = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

    static void* after_header(void* block, FrameMemory* memory) noexcept {
        ::new (block) FrameMemory* {memory};
        return static_cast<std::byte*>(block) + header_size;
    }

    std::exception_ptr error_{};
};

template <class T>
class Promise;

/// The type as which an operation keeps a result of type T until it is asked for. An operation with that type as its
/// result converts to one with T, so that one coroutine may serve several types.
template <class T>
struct KeptResult {
    using type = T;
};

}  // namespace kombu::detail

namespace kombu::async {

/// A reference to an operation of any result type, for drivers.
class OperationHandle {
public:
    /// Refers to an operation that is done.
    OperationHandle() noexcept = default;
    /// Must precede the first resume() when the operation may wait for signals. The waker outlives the operation.
    void set_waker(Waker& waker) noexcept {
        if (promise_) promise_->own_context_.waker = &waker;
    }
    /// Runs until the operation is done (true) or waits (false). `ready`: the events that ended the last wait. Input
    /// that is not enough (AwaitInput) leaves the operation and its wait() as they were.
    bool resume(Ready ready) {
        if (!promise_) return true;
        detail::OperationContext& context = promise_->own_context_;
        if (!promise_->context_) {
            context.innermost = self_;
            promise_->context_ = &context;
        }
        if (ready.read && context.input.is_enough && !context.input.is_enough(context.input.argument)) return false;
        context.ready = ready;
        context.wait = {};
        context.input = {};
        context.innermost.resume();
        return self_.done();
    }
    /// The events that the operation waits for, after a resume() that returned false.
    const Wait& wait() const noexcept { return promise_->own_context_.wait; }

private:
    template <class>
    friend class Operation;
    OperationHandle(detail::PromiseBase& promise, std::coroutine_handle<> self) noexcept
        : promise_(&promise), self_(self) {}

    detail::PromiseBase* promise_ = nullptr;
    std::coroutine_handle<> self_{};
};

/// A coroutine that never blocks: it suspends with a description of what it waits for. A driver does the waiting: for
/// blocking calls on the caller's thread, for those of kombu/asio.hpp on an executor. An operation is written once for
/// both.
///
/// It starts with the first resume(). Objects that it received by reference must outlive it. Destroying a suspended
/// operation cancels it; the operation then cleans up what it has left half-done.
///
/// A function that has nothing to wait for may do its work at the call and return a completed() operation, which is no
/// coroutine and allocates nothing.
template <class T = void>
class [[nodiscard]] Operation {
public:
    /// What a coroutine of this type is made with.
    using promise_type = detail::Promise<typename detail::KeptResult<T>::type>;

    /// An operation that is done.
    static Operation completed() noexcept requires std::is_void_v<T> { return Operation{nullptr}; }

    /// The other operation is left without one.
    Operation(Operation&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
    /// Of the type as which results are kept, for coroutines that serve several types.
    template <class Kept>
    requires(!std::is_same_v<T, Kept> && std::is_same_v<Kept, typename detail::KeptResult<T>::type>)
        Operation(Operation<Kept>&& other)
    noexcept : self_(std::exchange(other.self_, nullptr)) {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;
    Operation& operator=(Operation&&) = delete;
    ~Operation() {
        if (self_) self_.destroy();
    }

    // -- for drivers
    /// Whether there is a result or an exception.
    bool is_done() const noexcept { return !self_ || self_.done(); }
    /// A reference, for a driver.
    OperationHandle handle() noexcept { return self_ ? OperationHandle{self_.promise(), self_} : OperationHandle{}; }
    /// Runs until the operation is done (true) or waits (false); see OperationHandle::resume.
    bool resume(Ready ready = {.read = true}) { return handle().resume(ready); }
    /// The events that the operation waits for, after a resume() that returned false.
    const Wait& wait() const noexcept { return self_.promise().own_context_.wait; }
    /// Returns the result of a finished operation, or throws its exception.
    T result() {
        if constexpr (std::is_void_v<T>)
            if (!self_) return;
        return T(self_.promise().result());
    }

    // -- for co_await in another operation
    /// Whether it was completed at the call.
    bool await_ready() const noexcept { return !self_; }
    /// Starts it; the outer operation goes on when it has ended.
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> outer) noexcept {
        self_.promise().awaited_by_ = outer;
        return self_;
    }
    /// Its result, or its exception.
    T await_resume() { return result(); }

private:
    friend promise_type;
    friend detail::PromiseBase;
    template <class>
    friend class Operation;
    void set_context(detail::OperationContext& context) noexcept {
        if (self_) self_.promise().context_ = &context;
    }
    explicit Operation(std::coroutine_handle<promise_type> self) noexcept : self_(self) {}

    std::coroutine_handle<promise_type> self_;
};

}  // namespace kombu::async

namespace kombu::detail {

template <class T>
class Promise : public PromiseBase {
public:
    async::Operation<T> get_return_object() noexcept {
        return async::Operation<T>{std::coroutine_handle<Promise>::from_promise(*this)};
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
    async::Operation<void> get_return_object() noexcept {
        return async::Operation<void>{std::coroutine_handle<Promise>::from_promise(*this)};
    }
    void return_void() const noexcept {}
    void result() const { rethrow(); }
};

}  // namespace kombu::detail
