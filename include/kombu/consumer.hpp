// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/error.hpp>
#include <kombu/json.hpp>
#include <kombu/message.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu {

/// The options of a Consumer.
struct ConsumerOptions {
    /// The content types that Message::payload decodes.
    ContentTypes accept{};
    /// The number of unsettled messages that the broker sends for each queue; more follow when some are settled. 0: no
    /// limit. Not set: 100.
    std::optional<std::uint16_t> prefetch_count{};
    /// Messages need no acknowledgement: each is acknowledged when it is handed out. Not set: that of each queue.
    std::optional<bool> no_ack{};
    /// Consumer tags are this and a number.
    std::string tag_prefix = "kombu-cpp.";
    /// Declare the queues, with their exchanges and bindings.
    bool auto_declare = true;
    /// Consumers of the highest priority are served first. Not set: 0. Has no effect on Redis.
    std::optional<int> priority{};
    /// Refuse other consumers of the queues. Has no effect on Redis.
    bool exclusive = false;
    /// Broker-specific arguments of the consumers, a JSON object.
    Json arguments = Json::object();
};

/// Receives the messages of queues. Connection::drain_events() waits for them and calls the handlers.
///
///     kombu::Consumer consumer{connection, {queue}, {.prefetch_count = 10}};
///     consumer.on_message([](kombu::Message& message) { handle(message.payload()); message.ack(); });
///     consumer.consume();
///     while (connection.drain_events(5s)) {}
///
/// A Consumer has a channel of its own. When the channel or the connection is lost, drain_events() throws, and
/// consume() begins anew; the broker delivers again what was not settled. A ConsumerLoop does that by itself.
///
/// Acknowledgements of messages that follow each other closely are sent together, at the latest when the next message
/// is waited for. The end of scope cancels the consumer, and gives back what was not settled.
///
/// \par Thread safety
/// The thread that uses the connection owns its consumers, and their messages.
/// \par Fork
/// In a child, a consumer of the parent throws ConnectionError.
/// \par Kombu
/// `kombu.Consumer`
class KOMBU_EXPORT Consumer {
public:
    /// Is given the message.
    using MessageHandler = std::function<void(Message&)>;
    /// Is given the decoded body, and the message.
    using Callback = std::function<void(const Json& payload, Message&)>;
    /// Is given a message whose body cannot be decoded, and why.
    using DecodeErrorHandler = std::function<void(Message&, const Error&)>;
    /// Is told of a consumer that the broker has cancelled.
    using CancelHandler = std::function<void(const ConsumerCancelled&)>;

    /// Opens a channel, and declares the queues unless the options say otherwise. Does not consume yet.
    /// \throws ConfigurationError  when there is no queue, or the arguments are not a JSON object
    /// \throws ChannelError  when the broker refuses a declaration
    /// \throws ConnectionError  as Connection::connect does
    Consumer(Connection& connection, std::vector<Queue> queues, ConsumerOptions options = {});
    Consumer(Consumer&&) noexcept;
    Consumer& operator=(Consumer&&) noexcept;
    /// Cancels the consumer without waiting. What was not settled goes back to its queue.
    ~Consumer();

    /// Sets the function that gets each message. It replaces the callbacks, and decodes the payload itself.
    void on_message(MessageHandler handler);
    /// Adds a function that gets the decoded payload of each message, and the message.
    void register_callback(Callback callback);
    /// Sets the function that gets the messages whose payload cannot be decoded for the callbacks. Without it, the
    /// error passes out of drain_events().
    void on_decode_error(DecodeErrorHandler handler);
    /// Sets the function that is told when the broker cancels the consumer of a queue, before drain_events() throws.
    void on_cancelled(CancelHandler handler);

    /// Begins to receive from the queues that it does not consume from yet. Opens the channel and declares again when
    /// it was closed.
    /// \throws ConfigurationError  when there is neither a message handler nor a callback
    /// \throws ChannelError  when the broker refuses: a queue does not exist, or another consumer excludes this one
    /// \throws ConnectionError  when the connection fails
    void consume(OptionalTimeout timeout = {});
    /// Stops receiving. Messages that were not handed out go back to their queues; those that were can be settled.
    void cancel(OptionalTimeout timeout = {});
    /// The same for one queue. Has no effect for a queue that it does not consume from.
    void cancel_by_queue(std::string_view queue, OptionalTimeout timeout = {});
    /// As cancel(); resume() goes on.
    void pause(OptionalTimeout timeout = {}) { cancel(timeout); }
    /// As consume().
    void resume(OptionalTimeout timeout = {}) { consume(timeout); }
    /// Whether it consumes from the queue.
    bool consuming_from(std::string_view queue) const noexcept;

    /// Changes the prefetch count. The consumer is cancelled and begins anew, since brokers do not change that of a
    /// running one.
    void qos(std::uint16_t prefetch_count, OptionalTimeout timeout = {});
    /// Removes the messages of all queues that are ready for delivery.
    /// \return their number
    std::uint32_t purge(OptionalTimeout timeout = {});
    /// Requeues all messages that are not settled. They come again; those at hand can no longer be settled.
    void recover(OptionalTimeout timeout = {});
    /// Acknowledges this message and all that were handed out before it. Settling those later throws ChannelError.
    /// \throws MessageStateError  when the message was settled already
    void ack_until(Message& message);

    /// The queues; one with a name that the broker chose has that name.
    const std::vector<Queue>& queues() const noexcept;

    /// Waits for the next message of this consumer, by kombu/asio.hpp. Completes with (error, Message). A cancelled
    /// call loses no message.
    template <class Token>
    auto async_receive(Token&& token);
    /// Asynchronous consume(). Completes with (error).
    template <class Token>
    auto async_consume(Token&& token);
    /// Asynchronous cancel(). Completes with (error).
    template <class Token>
    auto async_cancel(Token&& token);

private:
    friend struct async::Operations;
    std::shared_ptr<detail::ConsumerState> state_;
};

}  // namespace kombu
