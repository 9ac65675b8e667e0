// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/message.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>

namespace kombu {

enum class Outcome : std::uint8_t;

namespace detail {

class ConsumerLoopState;

/// The handler of a ConsumerLoop, without its type.
using MessageHandler = std::function<std::optional<kombu::Outcome>(Message&, std::stop_token)>;

/// Called by a handler that has returned before it has ended, when it has.
using HandlerEnd = std::function<void(const std::exception_ptr&, std::optional<kombu::Outcome>)>;
/// Where such a handler runs: an executor that kombu/asio.hpp knows the type of. Null: the library's own.
using HandlerExecutor = std::shared_ptr<void>;
/// The handler of a ConsumerLoop that returns before it has ended. The message exists until it calls HandlerEnd, or
/// drops it.
using AsyncMessageHandler = std::function<void(Message&, std::stop_token, const HandlerExecutor&, HandlerEnd)>;

/// Whether a handler with this result returns before it has ended, and how to start it. kombu/asio.hpp specialises it
/// for awaitables.
template <class Result>
struct AwaitableHandler : std::false_type {};

/// The type of the first parameter of a function object that is no template.
template <class Call>
struct FirstParameter;
template <class Class, class Result, class First, class... Rest>
struct FirstParameter<Result (Class::*)(First, Rest...) const> {
    using type = std::remove_cvref_t<First>;
};
template <class Class, class Result, class First, class... Rest>
struct FirstParameter<Result (Class::*)(First, Rest...)> {
    using type = std::remove_cvref_t<First>;
};
template <class Class, class Result, class First, class... Rest>
struct FirstParameter<Result (Class::*)(First, Rest...) const noexcept> {
    using type = std::remove_cvref_t<First>;
};
template <class Result, class First, class... Rest>
struct FirstParameter<Result (*)(First, Rest...)> {
    using type = std::remove_cvref_t<First>;
};
template <class Handler>
struct PayloadOf : FirstParameter<decltype(&Handler::operator())> {};
template <class Result, class First, class... Rest>
struct PayloadOf<Result (*)(First, Rest...)> : FirstParameter<Result (*)(First, Rest...)> {};

/// Calls a handler with those of (payload), message and stop_token that it takes.
template <class Handler>
class HandlerCall {
    static constexpr bool takes_message =
        std::is_invocable_v<Handler&, Message&, std::stop_token> || std::is_invocable_v<Handler&, Message&>;
    static auto payload_type() {
        if constexpr (takes_message)
            return std::type_identity<std::monostate>{};
        else
            return std::type_identity<typename PayloadOf<Handler>::type>{};
    }

public:
    /// std::monostate when it takes none.
    using Payload = typename decltype(payload_type())::type;

    static Payload payload_of(const Message& message) {
        if constexpr (takes_message)
            return {};
        else
            return message.payload_as<Payload>();
    }
    static decltype(auto) call(Handler& handler, [[maybe_unused]] const Payload& payload,
                               [[maybe_unused]] Message& message, [[maybe_unused]] std::stop_token stop) {
        if constexpr (std::is_invocable_v<Handler&, Message&, std::stop_token>)
            return handler(message, std::move(stop));
        else if constexpr (takes_message)
            return handler(message);
        else if constexpr (std::is_invocable_v<Handler&, const Payload&, Message&, std::stop_token>)
            return handler(payload, message, std::move(stop));
        else if constexpr (std::is_invocable_v<Handler&, const Payload&, Message&>)
            return handler(payload, message);
        else if constexpr (std::is_invocable_v<Handler&, const Payload&, std::stop_token>)
            return handler(payload, std::move(stop));
        else
            return handler(payload);
    }
    using Result = decltype(call(std::declval<Handler&>(), std::declval<const Payload&>(), std::declval<Message&>(),
                                 std::stop_token{}));
    static constexpr bool is_awaitable = AwaitableHandler<Result>::value;
};

template <class Handler>
MessageHandler make_handler(Handler handler) {
    using Call = HandlerCall<Handler>;
    static_assert(std::is_void_v<typename Call::Result> ||
                      std::is_convertible_v<typename Call::Result, std::optional<kombu::Outcome>>,
                  "a handler returns nothing, an Outcome, or, with kombu/asio.hpp, an awaitable of those");
    return [handler = std::move(handler)](Message& message,
                                          std::stop_token stop) mutable -> std::optional<kombu::Outcome> {
        const auto& payload = Call::payload_of(message);
        if constexpr (std::is_void_v<typename Call::Result>) {
            Call::call(handler, payload, message, std::move(stop));
            return std::nullopt;
        } else {
            return Call::call(handler, payload, message, std::move(stop));
        }
    };
}

template <class Handler>
AsyncMessageHandler make_async_handler(Handler handler) {
    using Call = HandlerCall<Handler>;
    return [handler = std::make_shared<Handler>(std::move(handler))](Message& message, std::stop_token stop,
                                                                     const HandlerExecutor& executor, HandlerEnd end) {
        // It exists as long as the handler runs.
        auto payload = std::make_shared<const typename Call::Payload>(Call::payload_of(message));
        AwaitableHandler<typename Call::Result>::start(
            executor,
            [handler, payload, &message, stop = std::move(stop)] {
                return Call::call(*handler, *payload, message, stop);
            },
            [payload, end = std::move(end)](const std::exception_ptr& error, std::optional<kombu::Outcome> outcome) {
                end(error, outcome);
            });
    };
}

}  // namespace detail
}  // namespace kombu
