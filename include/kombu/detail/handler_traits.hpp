// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/message.hpp>

#include <functional>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace kombu {

enum class Outcome : std::uint8_t;

namespace detail {

class ConsumerLoopState;

/// The handler of a ConsumerLoop, without its type.
using MessageHandler = std::function<std::optional<kombu::Outcome>(Message&, std::stop_token)>;

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

template <class Handler, class... Arguments>
std::optional<kombu::Outcome> call_handler(Handler& handler, Arguments&&... arguments) {
    if constexpr (std::is_void_v<std::invoke_result_t<Handler&, Arguments...>>) {
        handler(std::forward<Arguments>(arguments)...);
        return std::nullopt;
    } else {
        return handler(std::forward<Arguments>(arguments)...);
    }
}

template <class Handler>
MessageHandler make_handler(Handler handler) {
    return [handler = std::move(handler)](Message& message, [[maybe_unused]] std::stop_token stop) mutable {
        if constexpr (std::is_invocable_v<Handler&, Message&, std::stop_token>) {
            return call_handler(handler, message, std::move(stop));
        } else if constexpr (std::is_invocable_v<Handler&, Message&>) {
            return call_handler(handler, message);
        } else {
            using Payload = typename PayloadOf<Handler>::type;
            const auto payload = message.payload_as<Payload>();
            if constexpr (std::is_invocable_v<Handler&, const Payload&, Message&, std::stop_token>)
                return call_handler(handler, payload, message, std::move(stop));
            else if constexpr (std::is_invocable_v<Handler&, const Payload&, Message&>)
                return call_handler(handler, payload, message);
            else if constexpr (std::is_invocable_v<Handler&, const Payload&, std::stop_token>)
                return call_handler(handler, payload, std::move(stop));
            else
                return call_handler(handler, payload);
        }
    };
}

}  // namespace detail
}  // namespace kombu
