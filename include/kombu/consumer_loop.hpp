// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/consumer.hpp>
#include <kombu/deadline.hpp>
#include <kombu/detail/handler_traits.hpp>
#include <kombu/entity.hpp>
#include <kombu/error.hpp>
#include <kombu/message.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace kombu {

/// When a ConsumerLoop acknowledges a message.
enum class AckMode : std::uint8_t {
    /// The handler does. A message that is destroyed without it is requeued.
    manual,
    /// When the handler has returned, unless it has settled the message itself.
    on_success,
    /// When it is handed to the handler.
    on_receipt,
};

/// What a handler may return, to settle its message.
enum class Outcome : std::uint8_t {
    acknowledge,
    /// Dead-letter or drop.
    reject,
    /// Put back. Slowed down, so that the message does not spin.
    requeue,
    /// As a failure with FailurePolicy::retry.
    retry,
};

/// A handler throws these to settle its message.
struct Reject {};
struct Requeue {};

/// What happens to a message whose handler has thrown. The loop goes on in every case.
struct FailurePolicy {
    /// What becomes of the message.
    enum Then : std::uint8_t {
        /// Reject: the broker dead-letters or drops it.
        reject,
        /// Requeue, at most ten times a second.
        requeue,
        /// Deliver it again after a delay, and reject it after the last attempt. The message waits at the broker: it is
        /// published for later, and then acknowledged. The header `x-kombu-attempt` counts.
        retry,
    };
    /// What becomes of the message; with retry, up to max_attempts.
    Then then = reject;
    /// The number of calls for one message, with retry.
    unsigned max_attempts = 5;
    /// The delay before the n-th retry, from 0, is `interval_start + n * interval_step`, at most `interval_max`.
    std::chrono::duration<double> interval_start{1};
    /// Added to each further delay.
    std::chrono::duration<double> interval_step{2};
    /// The longest delay.
    std::chrono::duration<double> interval_max{60};
};

/// What a loop finishes when it is stopped.
enum class Drain : std::uint8_t {
    /// What handlers have begun; the rest is requeued at once.
    in_hand,
    /// All that was received.
    prefetched,
};

/// Counters of a ConsumerLoop. `received` is the sum of acknowledged, rejected, requeued, retried, late and in_hand.
struct ConsumerStats {
    /// Messages that have come, also those that come again.
    std::uint64_t received = 0;
    std::uint64_t redelivered = 0;  ///< of those received
    /// Messages that were acknowledged.
    std::uint64_t acknowledged = 0;
    /// Messages that were rejected, and so dead-lettered where the queue says so.
    std::uint64_t rejected = 0;
    /// Messages that were given back to their queue.
    std::uint64_t requeued = 0;
    /// Messages that were published again, to come after a pause.
    std::uint64_t retried = 0;
    /// Settled after their channel was lost: the broker delivers them again.
    std::uint64_t late = 0;
    /// Received and not settled.
    std::uint64_t in_hand = 0;
    std::uint64_t failed = 0;             ///< calls of the handler that have thrown
    std::uint64_t dropped_unsettled = 0;  ///< messages that were destroyed, and therefore requeued
    std::uint64_t running = 0;            ///< calls of the handler now
    std::uint64_t consumes = 0;           ///< how often it has begun to consume, the first time included
    std::uint64_t failed_attempts = 0;    ///< to do that
    /// The text of the last exception of a handler; empty when there was none.
    std::string last_error{};
};

/// How a loop has ended.
struct StopReport {
    /// Messages whose handler has ended.
    std::uint64_t handled = 0;
    /// Messages that were given back without a call of the handler.
    std::uint64_t requeued = 0;
    /// Messages whose handler had not ended after the drain_timeout; the broker delivers them again.
    std::uint64_t abandoned = 0;
    /// Whether all handlers had ended within the drain_timeout.
    bool in_time = true;
};

/// Is told of a ConsumerLoop's events, on the loop's threads. Must be thread-safe, and not throw.
class KOMBU_EXPORT ConsumerObserver {
public:
    virtual ~ConsumerObserver() = default;
    /// It consumes, at first or again, from the broker at this endpoint.
    virtual void on_consuming(const std::string& endpoint) { (void)endpoint; }
    /// It no longer consumes: the connection or the channel was lost, or the broker has cancelled a consumer.
    virtual void on_lost(const std::exception& error) { (void)error; }
    /// An attempt to consume again has failed; the next one follows after the pause.
    virtual void on_attempt_failed(const std::exception& error, std::chrono::milliseconds pause) {
        (void)error;
        (void)pause;
    }
    /// Called before the handler, on its thread. The message has the headers of the sender. The result is destroyed
    /// when the handler has ended: for a tracing span.
    virtual std::shared_ptr<void> on_delivery(const Message& message, const std::string& queue) {
        (void)message;
        (void)queue;
        return nullptr;
    }
    /// The handler has thrown.
    virtual void on_failure(const Message& message, const std::exception& error) {
        (void)message;
        (void)error;
    }
};

/// The options of a ConsumerLoop.
struct ConsumerLoopOptions {
    /// How to consume: the prefetch count, accepted content types, and so on.
    ConsumerOptions consumer{};
    /// The number of threads that call the handler. With one, messages are handled in their order; with more, they are
    /// started in their order.
    std::size_t threads = 1;
    /// When messages are acknowledged.
    AckMode ack = AckMode::on_success;
    /// What becomes of a message whose handler throws.
    FailurePolicy on_failure{};
    /// How long a stop waits for the handlers.
    OptionalTimeout drain_timeout = std::chrono::seconds{30};
    /// Which messages are still handled after a stop.
    Drain drain = Drain::in_hand;
    /// The pauses between attempts to consume again. It tries until it is stopped.
    RetryPolicy reconnect{};
    /// A handler that takes longer is reported, and its stop_token is set. Not set: no bound.
    OptionalTimeout handler_timeout{};
    /// Messages with equal keys are handled in their order, one at a time. Not set: no such order.
    std::function<std::string(const Message&)> order_key{};
    /// Is told of what happens; may be null.
    std::shared_ptr<ConsumerObserver> observer{};
};

/// How to collect messages for one call of a handler.
struct BatchOptions {
    /// The most messages of a call.
    std::size_t max = 100;
    /// How long the first message of a batch waits for others.
    std::chrono::milliseconds linger{50};
};

/// Consumes from queues until it is stopped, whatever happens to the broker: it connects again, declares and consumes
/// again, with growing pauses.
///
///     kombu::ConsumerLoop loop{broker, {jobs}, {.threads = 4}};
///     loop.on_message([](kombu::Message& message) { handle(message.payload()); });
///     loop.run(stop.get_token());
///
/// The loop has a connection of its own, which the thread of run() drives; handlers run on threads of their own. A
/// handler may take as long as it needs. Its messages can be settled from any thread; that never waits and never throws
/// for a lost connection (ConsumerStats::late).
///
/// \par Thread safety
/// on_message() and the like come before run(). pause(), resume() and stats() may be called from any thread.
/// \par Fork
/// A child has neither the threads nor the connection of the loop: it must not use it.
/// \par Kombu
/// `kombu.mixins.ConsumerMixin`
class KOMBU_EXPORT ConsumerLoop {
public:
    /// Does not connect.
    /// \throws ConfigurationError  when there is no queue, or an option is out of range
    ConsumerLoop(const Connection& broker, std::vector<Queue> queues, ConsumerLoopOptions options = {});
    ConsumerLoop(const ConsumerLoop&) = delete;
    ConsumerLoop& operator=(const ConsumerLoop&) = delete;
    ~ConsumerLoop();

    /// Sets the handler. It takes `Message&`, or `const T&` (by from_json) and then, if it likes, `Message&`; and after
    /// those, if it likes, a `std::stop_token`, which is set when the handler should end. It returns nothing, or an
    /// Outcome.
    ///
    /// With kombu/asio.hpp it may return an `awaitable` of those: `threads` is then the number of coroutines at once.
    /// They run on the executor of async_run()'s token, else on the library's thread. The message and the payload exist
    /// until the coroutine has ended.
    template <class Handler>
    void on_message(Handler handler) {
        if constexpr (detail::HandlerCall<Handler>::is_awaitable)
            set_async_handler(detail::make_async_handler(std::move(handler)));
        else
            set_handler(detail::make_handler(std::move(handler)));
    }
    /// Sets a handler for several messages at once. When it throws, the failure policy applies to each of them that is
    /// not settled.
    void on_batch(BatchOptions options, std::function<void(std::span<Message>)> handler);
    /// Sets the function that gets messages whose payload cannot be decoded. Without it they are rejected, and logged.
    void on_decode_error(std::function<void(Message&, const Error&)> handler);

    /// Consumes until the stop is requested, and then until the handlers have ended or the drain_timeout has passed.
    /// A handler that does not end keeps it.
    /// \throws ConfigurationError  when there is no handler
    /// \throws ChannelError  when the broker refuses at the first attempt
    /// \throws ConnectionError  when that is hopeless, such as for a wrong password
    /// \throws LeaseError  when the loop is running already
    StopReport run(std::stop_token stop = {});
    /// Asynchronous run(), by kombu/asio.hpp. Completes with (error, StopReport).
    template <class Token>
    auto async_run(std::stop_token stop, Token&& token);

    /// Stops receiving until resume(). What was received and not begun is requeued.
    void pause();
    /// Receives again after pause().
    void resume();

    /// What has happened so far. Any thread may ask.
    ConsumerStats stats() const;

private:
    friend struct async::Operations;
    void set_handler(detail::MessageHandler handler);
    void set_async_handler(detail::AsyncMessageHandler handler);

    std::shared_ptr<detail::ConsumerLoopState> state_;
};

}  // namespace kombu
