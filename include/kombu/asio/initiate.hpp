// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/error.hpp>
#include <kombu/asio/running_operation.hpp>
#include <kombu/asio/runtime.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/consign.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/prepend.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

/// Starts operations for completion tokens.
namespace kombu::detail {

// -- errors as exceptions or as codes

/// Whether errors are delivered as exceptions. A token that accepts both, as Asio's own generic ones do, gets a code.
template <class Token, class... Values>
struct WantsException : std::bool_constant<std::is_invocable_v<Token, std::exception_ptr, Values...> &&
                                           !std::is_invocable_v<Token, boost::system::error_code, Values...>> {};
template <class Executor, class... Values>
struct WantsException<boost::asio::use_awaitable_t<Executor>, Values...> : std::true_type {};
template <class Allocator, class... Values>
struct WantsException<boost::asio::use_future_t<Allocator>, Values...> : std::true_type {};
template <class Token, class Executor, class... Values>
struct WantsException<boost::asio::executor_binder<Token, Executor>, Values...>
    : WantsException<std::decay_t<Token>, Values...> {};
template <class Token, class Allocator, class... Values>
struct WantsException<boost::asio::allocator_binder<Token, Allocator>, Values...>
    : WantsException<std::decay_t<Token>, Values...> {};
template <class Token, class Slot, class... Values>
struct WantsException<boost::asio::cancellation_slot_binder<Token, Slot>, Values...>
    : WantsException<std::decay_t<Token>, Values...> {};
template <class Token, class... More, class... Values>
struct WantsException<boost::asio::append_t<Token, More...>, Values...>
    : WantsException<std::decay_t<Token>, Values...> {};
template <class Token, class... More, class... Values>
struct WantsException<boost::asio::prepend_t<Token, More...>, Values...>
    : WantsException<std::decay_t<Token>, Values...> {};
template <class Token, class... More, class... Values>
struct WantsException<boost::asio::consign_t<Token, More...>, Values...>
    : WantsException<std::decay_t<Token>, Values...> {};
/// use_future(function)
template <class Function, class Allocator, class... Values>
struct WantsException<boost::asio::detail::packaged_token<Function, Allocator>, Values...>
    : WantsException<Function, Values...> {};

/// Delivers the outcome of an operation to a handler.
template <bool exceptions, class T>
struct Completion {
    using Value = T;
    using Error = std::conditional_t<exceptions, std::exception_ptr, boost::system::error_code>;
    using Signature = void(Error, T);

    template <class Handler>
    static void complete(Handler handler, Outcome<Value> outcome) {
        if (!outcome.value) outcome.value.emplace();
        std::move(handler)(error_of(std::move(outcome.error)), std::move(*outcome.value));
    }
    static Error error_of(std::exception_ptr error) {
        if constexpr (exceptions)
            return error;
        else
            return to_error_code(error);
    }
};
template <bool exceptions>
struct Completion<exceptions, void> {
    using Value = std::monostate;
    using Error = typename Completion<exceptions, int>::Error;
    using Signature = void(Error);

    template <class Handler>
    static void complete(Handler handler, Outcome<Value> outcome) {
        std::move(handler)(Completion<exceptions, int>::error_of(std::move(outcome.error)));
    }
};

template <class Token, class T>
struct CompletionOf : std::type_identity<Completion<WantsException<std::decay_t<Token>, T>::value, T>> {};
template <class Token>
struct CompletionOf<Token, void> : std::type_identity<Completion<WantsException<std::decay_t<Token>>::value, void>> {};

// -- executors

/// The fallback of associated_executor: stands for a handler without an executor.
struct NoExecutor {};

/// Whether the handler leaves the executor open. The system_executor counts as open, and the library's own thread
/// replaces it: its threads belong to Asio, start with the first access to its context, and do not exist in a forked
/// child.
template <class Executor>
struct HasNoExecutor : std::false_type {};
template <>
struct HasNoExecutor<NoExecutor> : std::true_type {};
template <class Blocking, class Relationship, class Allocator>
struct HasNoExecutor<boost::asio::basic_system_executor<Blocking, Relationship, Allocator>> : std::true_type {};
template <class T, class Blocking>
struct HasNoExecutor<boost::asio::detail::promise_executor<T, Blocking>> : std::true_type {};

// -- starting

/// The result of an initiating function: an operation, or its outcome when it has ended already.
template <class T, class Value>
struct Initiated {
    std::optional<async::Operation<T>> operation{};
    Outcome<Value> outcome{};
    bool total_cancellation = false;
};

template <class T, class Completion, class Handler, class Executor>
void start(Initiated<T, typename Completion::Value>& initiated, Handler&& handler, const Executor& executor) {
    using Running = RunningOperation<T, Completion, std::decay_t<Handler>, Executor>;
    if (initiated.operation)
        Running::start(std::move(*initiated.operation), std::forward<Handler>(handler), executor,
                       initiated.total_cancellation);
    else
        Running::complete(std::move(initiated.outcome), std::forward<Handler>(handler), executor);
}

template <class T, class Completion>
struct Initiation {
    template <class Handler, class Prepare>
    void operator()(Handler&& handler, Prepare&& prepare) const {
        using Executor = boost::asio::associated_executor_t<std::decay_t<Handler>, NoExecutor>;
        Initiated<T, typename Completion::Value> initiated;
        try {
            if constexpr (!std::is_invocable_v<Prepare&, decltype((initiated)), std::shared_ptr<void>>)
                prepare(initiated);
            else if constexpr (HasNoExecutor<Executor>::value)
                prepare(initiated, std::shared_ptr<void>{});
            else
                prepare(initiated, std::shared_ptr<void>{std::make_shared<boost::asio::any_io_executor>(
                                       boost::asio::get_associated_executor(handler))});
        } catch (...) {
            initiated.operation.reset();
            initiated.outcome.error = std::current_exception();
        }
        if constexpr (HasNoExecutor<Executor>::value) {
            const Runtime::Guard guard = runtime().keep_running();
            start<T, Completion>(initiated, std::forward<Handler>(handler), guard.get_executor());
        } else {
            const Executor executor = boost::asio::get_associated_executor(handler);
            start<T, Completion>(initiated, std::forward<Handler>(handler), executor);
        }
    }
};

/// Excludes pointers: awaitable<> tests every awaited object for being callable with an internal pointer.
template <class Token>
concept NotAPointer = !std::is_pointer_v<std::decay_t<Token>>;

/// The result of the token `deferred`: starts the operation when it is called with the final token. Unlike the type
/// of Asio, it lets the final token decide how errors are delivered.
template <class T, class Prepare>
class [[nodiscard]] DeferredOperation {
public:
    explicit DeferredOperation(Prepare prepare) : prepare_(std::move(prepare)) {}

    template <NotAPointer Token>
    decltype(auto) operator()(Token&& token) &&;
    template <NotAPointer Token>
    decltype(auto) operator()(Token&& token) const&;

private:
    Prepare prepare_;
};

/// Starts an operation. `prepare` fills an Initiated<T>; when it takes a second argument, that is the handler's
/// executor, an any_io_executor, or null. It is moved along with the token until the operation starts,
/// which for lazy tokens may be later or never.
template <class T, class Prepare, class Token>
auto initiate(Prepare prepare, Token&& token) {
    if constexpr (std::is_same_v<std::decay_t<Token>, boost::asio::deferred_t>) {
        return DeferredOperation<T, Prepare>{std::move(prepare)};
    } else {
        using Completion = typename CompletionOf<Token, T>::type;
        return boost::asio::async_initiate<Token, typename Completion::Signature>(Initiation<T, Completion>{}, token,
                                                                                  std::move(prepare));
    }
}

template <class T, class Prepare>
template <NotAPointer Token>
decltype(auto) DeferredOperation<T, Prepare>::operator()(Token&& token) && {
    return initiate<T>(std::move(prepare_), std::forward<Token>(token));
}
template <class T, class Prepare>
template <NotAPointer Token>
decltype(auto) DeferredOperation<T, Prepare>::operator()(Token&& token) const& {
    return initiate<T>(prepare_, std::forward<Token>(token));
}

}  // namespace kombu::detail
