// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/runtime.hpp>
#include <kombu/consumer_loop.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace kombu::detail {

/// Starts the handlers of a ConsumerLoop that are coroutines.
template <class T, class Executor>
struct AwaitableHandler<boost::asio::awaitable<T, Executor>> : std::true_type {
    static_assert(std::is_constructible_v<Executor, boost::asio::any_io_executor>,
                  "a handler's awaitable has the executor any_io_executor");
    static_assert(std::is_void_v<T> || std::is_convertible_v<T, std::optional<kombu::Outcome>>,
                  "a handler's awaitable is of nothing, or of an Outcome");

    template <class Start, class End>
    static void start(const std::shared_ptr<void>& executor, Start start, End end) {
        if (executor) return spawn(*static_cast<boost::asio::any_io_executor*>(executor.get()), start, std::move(end));
        Runtime::Guard guard = runtime().keep_running();
        const boost::asio::any_io_executor own = guard.get_executor();
        spawn(own, start,
              [guard = std::move(guard), end = std::move(end)](
                  const std::exception_ptr& error, std::optional<kombu::Outcome> outcome) { end(error, outcome); });
    }

private:
    template <class Start, class End>
    static void spawn(const boost::asio::any_io_executor& executor, Start start, End end) {
        if constexpr (std::is_void_v<T>)
            boost::asio::co_spawn(
                Executor(executor), std::move(start),
                boost::asio::bind_executor(
                    executor, [end = std::move(end)](std::exception_ptr error) { end(error, std::nullopt); }));
        else
            boost::asio::co_spawn(
                Executor(executor), std::move(start),
                boost::asio::bind_executor(executor, [end = std::move(end)](std::exception_ptr error, T outcome) {
                    end(error, std::optional<kombu::Outcome>{std::move(outcome)});
                }));
    }
};

}  // namespace kombu::detail
