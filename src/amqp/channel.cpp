// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/channel.hpp"

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>

#include "amqp/confirm_wait.hpp"
#include "amqp/connection.hpp"
#include "amqp/operations.hpp"
#include "support/pieces.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

namespace kombu::amqp {
namespace {

/// Publishing without confirms does not read. A periodic check finds the broker's errors for earlier messages without a
/// system call for each message.
constexpr std::chrono::nanoseconds error_check_interval = std::chrono::milliseconds{5};

/// A body from this size on is sent from where it is.
constexpr std::size_t smallest_body_in_place = std::size_t{8} << 10;

std::string delay_queue_name(const std::string& queue, std::int64_t milliseconds) {
    constexpr std::size_t longest = 220;
    const std::string end = ".delay." + std::to_string(milliseconds);
    if (queue.size() <= longest) return queue + end;
    return queue.substr(0, longest - 20) + std::to_string(std::hash<std::string>{}(queue)) + end;
}

}  // namespace

AmqpChannel::AmqpChannel(std::shared_ptr<AmqpConnection> connection, std::shared_ptr<ChannelState> channel)
    : connection_(std::move(connection)), channel_(std::move(channel)) {}

AmqpChannel::~AmqpChannel() {
    if (!close_requested_) AmqpChannel::close_nowait();
}

bool AmqpChannel::is_open() const noexcept {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    return channel_->is_open() && connection_->is_open();
}

void AmqpChannel::check_open() const {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    connection_->check_open();
    channel_->check();
}

std::size_t AmqpChannel::unsettled() const noexcept {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    // An outstanding confirmation must not reach the next user either.
    return channel_->unsettled.size() + channel_->deliveries.size() + channel_->consumers.size() +
           static_cast<std::size_t>(channel_->pending_cancels) + channel_->confirms.pending_count();
}

async::Operation<> AmqpChannel::close(Deadline deadline) {
    close_requested_ = true;
    if (!is_open()) co_return;
    {
        const net::SessionLock::Guard guard{connection_->session_lock()};
        send_acknowledgements(connection_->session(), *channel_);
    }
    co_await connection_->run(close_channel(connection_->session(), channel_), deadline);
}

bool AmqpChannel::close_nowait() noexcept try {
    close_requested_ = true;
    const net::SessionLock::Guard guard{connection_->session_lock()};
    if (!is_open()) return connection_->is_open();
    send_acknowledgements(connection_->session(), *channel_);
    close_channel_nowait(connection_->session(), *channel_);
    return connection_->try_send();
} catch (const std::exception&) {
    return false;
}

async::Operation<> AmqpChannel::exchange_declare(const Exchange& exchange, Deadline deadline) {
    return connection_->run(declare_exchange(connection_->session(), channel_, exchange), deadline);
}

async::Operation<> AmqpChannel::exchange_delete(std::string_view name, bool if_unused, Deadline deadline) {
    return connection_->run(delete_exchange(connection_->session(), channel_, std::string{name}, if_unused), deadline);
}

async::Operation<QueueInfo> AmqpChannel::queue_declare(const Queue& queue, Deadline deadline) {
    return connection_->run(declare_queue(connection_->session(), channel_, queue), deadline);
}

async::Operation<> AmqpChannel::exchange_bind(std::string_view destination, std::string_view source,
                                              std::string_view routing_key, const Json& arguments, Deadline deadline) {
    return connection_->run(bind_exchange(connection_->session(), channel_, std::string{destination},
                                          std::string{source}, std::string{routing_key}, arguments),
                            deadline);
}

async::Operation<> AmqpChannel::exchange_unbind(std::string_view destination, std::string_view source,
                                                std::string_view routing_key, const Json& arguments,
                                                Deadline deadline) {
    return connection_->run(unbind_exchange(connection_->session(), channel_, std::string{destination},
                                            std::string{source}, std::string{routing_key}, arguments),
                            deadline);
}

async::Operation<> AmqpChannel::queue_bind(std::string_view queue, std::string_view exchange,
                                           std::string_view routing_key, const Json& arguments, Deadline deadline) {
    return connection_->run(bind_queue(connection_->session(), channel_, std::string{queue}, std::string{exchange},
                                       std::string{routing_key}, arguments),
                            deadline);
}

async::Operation<> AmqpChannel::queue_unbind(std::string_view queue, std::string_view exchange,
                                             std::string_view routing_key, const Json& arguments, Deadline deadline) {
    return connection_->run(unbind_queue(connection_->session(), channel_, std::string{queue}, std::string{exchange},
                                         std::string{routing_key}, arguments),
                            deadline);
}

async::Operation<std::uint32_t> AmqpChannel::queue_purge(std::string_view name, Deadline deadline) {
    return connection_->run(purge_queue(connection_->session(), channel_, std::string{name}), deadline);
}

async::Operation<std::uint32_t> AmqpChannel::queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                          Deadline deadline) {
    return connection_->run(delete_queue(connection_->session(), channel_, std::string{name}, if_unused, if_empty),
                            deadline);
}

async::Operation<> AmqpChannel::basic_publish(const OutgoingMessage& message, Deadline deadline,
                                              OptionalTimeout confirm_timeout) {
    const bool confirmed = connection_->confirms();
    if (!confirmed) check_async_errors();
    return begin_publish(message, confirmed, deadline, confirm_timeout);
}

async::Operation<> AmqpChannel::begin_publish(const OutgoingMessage& message, bool confirmed, Deadline deadline,
                                              OptionalTimeout confirm_timeout) {
    Session& session = connection_->session();
    AmqpConnection::Driver& driver = connection_->driver();
    AmqpConnection::Driver::RequestScope request = connection_->begin_request();
    if (session.blocked())
        return publish_when_unblocked(message, confirmed, deadline, confirm_timeout, std::move(request));
    BodyFrames frames;
    if (message.body.size() < smallest_body_in_place) {
        publish(session, *channel_, message, deadline);
    } else {
        check_in_time(deadline);  // later the connection would be lost
        frames = publish_head(session, *channel_, message);
    }
    const std::uint64_t number = confirmed ? await_confirmation_of(*channel_, message) : 0;
    const bool all_sent = frames.empty() ? driver.try_send(deadline) : try_send_frames(frames, deadline);
    if (!confirmed) return finish_sending(all_sent, frames, deadline, std::move(request));
    if (!all_sent) return confirm_when_sent(frames, number, deadline, confirm_timeout, std::move(request));
    const Deadline until = std::min(deadline, Deadline::after(confirm_timeout));
    return connection_->run(SingleConfirmWait{session, channel_, number, until}, deadline, std::move(request));
}

bool AmqpChannel::try_send_frames(BodyFrames& frames, Deadline deadline) {
    AmqpConnection::Driver& driver = connection_->driver();
    for (;;) {
        const std::string_view payload = frames.next(connection_->session().output());
        if (!driver.try_send_with(payload, {&frame_end, 1}, deadline)) return false;
        if (frames.empty()) return true;
        driver.fail_if_expired(deadline);
    }
}

async::Operation<> AmqpChannel::send_rest(BodyFrames& frames, Deadline deadline) {
    Session& session = connection_->session();
    AmqpConnection::Driver& driver = connection_->driver();
    if (!frames.empty()) session.begin_body(*channel_);
    for (bool all_sent = false; !all_sent;) {
        co_await driver.flush(deadline);
        session.check();
        if (frames.empty()) break;
        all_sent = !channel_->is_open() || try_send_frames(frames, deadline);
        if (frames.empty() || !channel_->is_open()) {
            session.end_body(*channel_);
            all_sent = driver.try_send(deadline);
        }
    }
}

void AmqpChannel::throw_closed(AmqpConnection::Driver::RequestScope& request) const {
    request.end();
    channel_->check();
}

async::Operation<> AmqpChannel::confirm_when_sent(BodyFrames frames, std::uint64_t number, Deadline deadline,
                                                  OptionalTimeout confirm_timeout,
                                                  AmqpConnection::Driver::RequestScope request) {
    co_await send_rest(frames, deadline);
    if (!frames.empty()) throw_closed(request);
    const Deadline until = std::min(deadline, Deadline::after(confirm_timeout));
    SingleConfirmWait wait{connection_->session(), channel_, number, until};
    co_await connection_->run(std::move(wait), deadline, std::move(request));
}

async::Operation<> AmqpChannel::publish_when_unblocked(const OutgoingMessage& message, bool confirmed,
                                                       Deadline deadline, OptionalTimeout confirm_timeout,
                                                       AmqpConnection::Driver::RequestScope request) {
    co_await connection_->run(await_unblocked(connection_->session(), deadline), deadline, std::move(request));
    co_await begin_publish(message, confirmed, deadline, confirm_timeout);
}

async::Operation<> AmqpChannel::finish_sending(bool all_sent, BodyFrames frames, Deadline deadline,
                                               AmqpConnection::Driver::RequestScope request) {
    if (!all_sent) return end_when_sent(frames, deadline, std::move(request));
    request.end();
    return async::Operation<>::completed();
}

async::Operation<> AmqpChannel::end_when_sent(BodyFrames frames, Deadline deadline,
                                              AmqpConnection::Driver::RequestScope request) {
    co_await send_rest(frames, deadline);
    if (!frames.empty()) throw_closed(request);
    request.end();
}

void AmqpChannel::check_async_errors() {
    connection_->check_open();
    const std::int64_t now = kombu::detail::coarse_now();
    if (now < next_error_check_) return;
    const net::SessionLock::Guard guard{connection_->session_lock()};
    connection_->driver().poll();
    connection_->try_send();  // responses to the received methods
    if (channel_->close_error)
        throw ChannelError("an earlier message was refused, and this one was not sent: " + channel_->close_error->text,
                           channel_->close_error->code);
    next_error_check_ = now + error_check_interval.count();
}

async::Operation<std::vector<std::exception_ptr>> AmqpChannel::basic_publish_all(
    std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout) {
    const auto unconfirmed = std::make_exception_ptr(ConnectionError("the message was not confirmed"));
    std::vector<std::exception_ptr> results(messages.size(), unconfirmed);
    std::vector<std::uint64_t> numbers;
    std::exception_ptr connection_error;
    try {
        Session& session = connection_->session();
        if (!connection_->confirms()) check_async_errors();
        co_await connection_->await_unblocked(deadline);
        AmqpConnection::Driver::RequestScope request = connection_->begin_request();
        const bool confirmed = connection_->confirms();
        const std::uint64_t before = channel_->confirms.last_number();
        numbers.resize(messages.size(), 0);
        for (std::size_t i = 0; i < messages.size(); ++i) {
            try {
                publish(session, *channel_, messages[i], deadline);
                if (confirmed) numbers[i] = await_confirmation_of(*channel_, messages[i]);
            } catch (const EncodeError&) {  // nothing of the message is in the output
                results[i] = std::current_exception();
            } catch (const ConfigurationError&) {
                results[i] = std::current_exception();
            }
        }
        if (!connection_->driver().try_send(deadline)) co_await connection_->driver().flush(deadline);
        if (confirmed) {
            const Deadline until = std::min(deadline, Deadline::after(confirm_timeout));
            ConfirmWait wait{session, channel_, before + 1, channel_->confirms.last_number(), until};
            co_await connection_->run(std::move(wait), deadline, std::move(request));
        } else {
            request.end();
            std::replace(results.begin(), results.end(), unconfirmed, std::exception_ptr{});
        }
    } catch (const OperationalError&) {
        connection_error = std::current_exception();
    }
    {
        const net::SessionLock::Guard guard{connection_->session_lock()};
        collect_outcomes(*channel_, numbers, results);
    }
    if (connection_error) std::replace(results.begin(), results.end(), unconfirmed, connection_error);
    co_return results;
}

async::Operation<std::unique_ptr<Delivery>> AmqpChannel::basic_get(std::string_view queue, bool no_ack,
                                                                   Deadline deadline) {
    return connection_->run(get(connection_->session(), channel_, std::string{queue}, no_ack), deadline);
}

async::Operation<std::unique_ptr<Delivery>> AmqpChannel::wait_for_message(const Queue& queue, bool no_ack,
                                                                          Deadline wait_until) {
    co_await connection_->await_unblocked(wait_until);
    // The operation observes wait_until itself. Registering and cancelling its consumer may take longer.
    const Deadline deadline = wait_until.is_never()
                                  ? wait_until
                                  : Deadline::at(std::max(wait_until.when(), Clock::now()) + std::chrono::seconds{4});
    co_return co_await connection_->run(
        amqp::wait_for_message(connection_->session(), channel_, queue, no_ack, wait_until), deadline);
}

async::Operation<> AmqpChannel::basic_ack(std::uint64_t delivery_tag, Deadline deadline) {
    connection_->poll_for_close();
    AmqpConnection::Driver::RequestScope request = connection_->begin_request();
    acknowledge(connection_->session(), *channel_, delivery_tag);
    return finish_sending(connection_->driver().try_send(deadline), {}, deadline, std::move(request));
}

async::Operation<> AmqpChannel::basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) {
    connection_->poll_for_close();
    AmqpConnection::Driver::RequestScope request = connection_->begin_request();
    reject(connection_->session(), *channel_, delivery_tag, requeue);
    return finish_sending(connection_->driver().try_send(deadline), {}, deadline, std::move(request));
}

async::Operation<> AmqpChannel::publish_later(const OutgoingMessage& message, const std::string& queue,
                                              std::chrono::milliseconds delay, Deadline deadline) {
    // A queue from which nobody receives: its messages expire, and go on to the queue.
    // RabbitMQ takes 32 bits.
    constexpr std::int64_t unused = 60'000, longest = 2'000'000'000;
    const auto milliseconds = std::clamp<std::int64_t>(delay.count(), 1, longest);
    QueueOptions options;
    options.queue_arguments = {{"x-dead-letter-exchange", ""},
                               {"x-dead-letter-routing-key", queue},
                               {"x-message-ttl", milliseconds},
                               {"x-expires", 2 * milliseconds + unused}};
    const Queue waiting{delay_queue_name(queue, milliseconds), std::move(options)};
    OutgoingMessage outgoing = message;
    auto metadata = std::make_shared<MessageMetadata>(*message.metadata);
    metadata->exchange.clear();
    metadata->routing_key = waiting.name();
    metadata->mandatory = true;
    metadata->properties.delivery_mode = DeliveryMode::persistent.value();
    outgoing.metadata = std::move(metadata);
    co_await queue_declare(waiting, deadline);
    if (!channel_->has_confirms) co_await connection_->run(select_confirms(connection_->session(), channel_), deadline);
    co_await begin_publish(outgoing, true, deadline, {});
}

async::Operation<> AmqpChannel::basic_qos(std::uint16_t prefetch_count, Deadline deadline) {
    return connection_->run(set_prefetch(connection_->session(), channel_, prefetch_count), deadline);
}

async::Operation<> AmqpChannel::basic_consume(const Queue& queue, const ConsumeOptions& options, Deadline deadline) {
    return connection_->run(consume(connection_->session(), channel_, queue.name(), options), deadline);
}

async::Operation<> AmqpChannel::basic_cancel(std::string_view consumer_tag, Deadline deadline) {
    return connection_->run(cancel(connection_->session(), channel_, std::string{consumer_tag}), deadline);
}

std::optional<ConsumerEvent> AmqpChannel::next_event() {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    // Messages that arrived before the end of the channel are the broker's again.
    if (!channel_->is_open() || !connection_->is_open()) return std::nullopt;
    return amqp::next_event(connection_->session(), *channel_);
}

bool AmqpChannel::has_event() const noexcept {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    return !channel_->deliveries.empty() || !channel_->cancelled_consumers.empty();
}

void AmqpChannel::settle_later(std::uint64_t delivery_tag, async::Settlement settlement) {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    connection_->check_open();
    if (settlement == async::Settlement::acknowledge)
        acknowledge_later(connection_->session(), *channel_, delivery_tag);
    else
        reject(connection_->session(), *channel_, delivery_tag, settlement == async::Settlement::requeue);
}

void AmqpChannel::requeue_later(std::span<const std::uint64_t> delivery_tags) {
    for (const std::uint64_t tag : delivery_tags) settle_later(tag, async::Settlement::requeue);
}

void AmqpChannel::acknowledge_until(std::uint64_t delivery_tag) {
    const net::SessionLock::Guard guard{connection_->session_lock()};
    connection_->check_open();
    amqp::acknowledge_until(connection_->session(), *channel_, delivery_tag);
}

async::Operation<> AmqpChannel::flush(Deadline deadline) {
    AmqpConnection::Driver::RequestScope request = connection_->begin_request();
    send_acknowledgements(connection_->session(), *channel_);
    if (!connection_->driver().try_send(deadline)) co_await connection_->driver().flush(deadline);
    request.end();
}

async::Operation<> AmqpChannel::basic_recover(Deadline deadline) {
    return connection_->run(recover(connection_->session(), channel_), deadline);
}

}  // namespace kombu::amqp
