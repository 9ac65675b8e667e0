// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>

#include "client/loop_settlements.hpp"
#include "client/worker_pool.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

namespace kombu::detail {

/// The headers of a message that was published again for a retry.
inline constexpr const char* attempt_header = "x-kombu-attempt";
inline constexpr const char* exchange_header = "x-kombu-exchange";
inline constexpr const char* routing_key_header = "x-kombu-routing-key";

/// Calls the handlers of a ConsumerLoop, on the threads of a WorkerPool, and settles their messages by what comes of
/// it.
class HandlerRunner : public std::enable_shared_from_this<HandlerRunner> {
public:
    HandlerRunner(const ConsumerLoopOptions& options, std::shared_ptr<LoopSettlements> settlements)
        : options_(options), settlements_(std::move(settlements)) {}

    MessageHandler on_message{};
    AsyncMessageHandler on_message_async{};
    std::function<void(std::span<Message>)> on_batch{};
    std::function<void(Message&, const Error&)> on_decode_error{};

    bool has_handler() const noexcept { return on_message || on_message_async || on_batch; }
    /// Whether run() returns before the handler has ended.
    bool is_asynchronous() const noexcept { return !on_batch && on_message_async; }
    /// Calls the handler, on the executor if it is asynchronous. Calls `end` when it has ended, and its messages are
    /// settled as far as the loop does that.
    void run(HandlerJob& job, std::stop_token stop, const HandlerExecutor& executor, WorkerPool::JobEnd end) noexcept;
    /// The number of messages whose handler has ended since the last call.
    std::uint64_t take_handled() noexcept { return handled_.exchange(0); }

private:
    class Ending;

    void start(HandlerJob& job, std::stop_token stop, const HandlerExecutor& executor, const WorkerPool::JobEnd& end);
    void call_batch(std::span<Message> messages, const std::string& queue);
    void settle_by_result(Message& message, const std::string& queue, const std::exception_ptr& error,
                          std::optional<Outcome> outcome) noexcept;
    void settle_by_error(Message& message, const std::string& queue, const std::exception_ptr& error);
    void on_failure(Message& message, const std::string& queue, const std::exception& error);
    void settle_by(Message& message, const std::string& queue, Outcome outcome);
    void retry_or_reject(Message& message, const std::string& queue);
    void on_ended(const HandlerJob& job) noexcept;

    const ConsumerLoopOptions options_;
    const std::shared_ptr<LoopSettlements> settlements_;
    std::atomic<std::uint64_t> handled_{0};
};

}  // namespace kombu::detail
