#include "amqp/channel.hpp"

#include <kombu/error.hpp>

#include "amqp/connection.hpp"
#include "amqp/operations.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace kombu::amqp {
namespace {

/// Without confirms nothing is read on the way; a look from time to time finds what the broker had to say about earlier
/// messages without a system call for each.
constexpr std::chrono::milliseconds error_check_interval{5};

}  // namespace

AmqpChannel::AmqpChannel(std::shared_ptr<AmqpConnection> connection, std::shared_ptr<ChannelState> channel)
    : connection_(std::move(connection)), channel_(std::move(channel)) {}

AmqpChannel::~AmqpChannel() {
    if (!ended_) AmqpChannel::close_nowait();
}

bool AmqpChannel::is_open() const noexcept {
    const net::Turn::Held turn{connection_->turn()};
    return channel_->is_open() && connection_->is_open();
}

std::size_t AmqpChannel::unsettled() const noexcept {
    const net::Turn::Held turn{connection_->turn()};
    // A confirmation that nobody waits for any more must not reach the next user either.
    return channel_->unsettled.size() + static_cast<std::size_t>(channel_->cancels_under_way) +
           channel_->confirms.pending();
}

async::Operation<> AmqpChannel::close(Deadline deadline) {
    ended_ = true;
    if (is_open()) co_await connection_->run(close_channel(connection_->session(), channel_), deadline);
}

bool AmqpChannel::close_nowait() noexcept try {
    ended_ = true;
    const net::Turn::Held turn{connection_->turn()};
    if (!is_open()) return connection_->is_open();
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
    if (!connection_->confirms()) return publish_unconfirmed(message, deadline);
    return publish_confirmed(message, deadline, confirm_timeout);
}

async::Operation<> AmqpChannel::publish_confirmed(const OutgoingMessage& message, Deadline deadline,
                                                  OptionalTimeout confirm_timeout) {
    Session& session = connection_->session();
    {
        AmqpConnection::Driver::Exchange waiting = connection_->begin();
        if (session.blocked())
            co_await connection_->run(await_unblocked(session, deadline), deadline, std::move(waiting));
    }
    AmqpConnection::Driver::Exchange exchange = connection_->begin();
    publish(session, *channel_, message);
    const std::uint64_t number = channel_->confirms.published(message.head->mandatory);
    if (!connection_->driver().try_send()) co_await connection_->driver().flush(deadline);
    const Deadline until = std::min(deadline, Deadline::after(confirm_timeout));
    co_await connection_->run(await_confirm(session, channel_, number, until), deadline, std::move(exchange));
}

void AmqpChannel::look_for_refusals() {
    connection_->check_open();
    if (!next_look_.expired()) return;
    const net::Turn::Held turn{connection_->turn()};
    connection_->driver().take_in();
    connection_->try_send();  // answers to what was taken in
    if (channel_->refusal)
        throw ChannelError("an earlier message was refused, and this one was not sent: " + channel_->refusal->text,
                           channel_->refusal->code);
    next_look_ = Deadline::after(error_check_interval);
}

async::Operation<> AmqpChannel::publish_unconfirmed(const OutgoingMessage& message, Deadline deadline) {
    look_for_refusals();
    AmqpConnection::Driver::Exchange exchange = connection_->begin();
    publish(connection_->session(), *channel_, message);
    if (!connection_->driver().try_send()) co_await connection_->driver().flush(deadline);
    exchange.end();
}

async::Operation<std::vector<std::exception_ptr>> AmqpChannel::basic_publish_all(
    std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout) {
    const auto unknown = std::make_exception_ptr(ConnectionError("the message was not confirmed"));
    std::vector<std::exception_ptr> results(messages.size(), unknown);
    std::exception_ptr broken;
    try {
        Session& session = connection_->session();
        if (!connection_->confirms()) look_for_refusals();
        AmqpConnection::Driver::Exchange exchange = connection_->begin();
        if (session.blocked()) co_await connection_->run(await_unblocked(session, deadline), deadline);
        std::vector<std::uint64_t> numbers(messages.size(), 0);
        for (std::size_t i = 0; i < messages.size(); ++i) {
            try {
                publish(session, *channel_, messages[i]);
                numbers[i] = connection_->confirms() ? channel_->confirms.published(messages[i].head->mandatory) : 0;
            } catch (const EncodeError&) {  // before any of it was put out
                results[i] = std::current_exception();
            } catch (const ConfigurationError&) {
                results[i] = std::current_exception();
            }
        }
        if (!connection_->driver().try_send()) co_await connection_->driver().flush(deadline);
        if (connection_->confirms()) {
            const Deadline until = std::min(deadline, Deadline::after(confirm_timeout));
            co_await connection_->run(await_confirms(session, channel_, numbers, results, until), deadline,
                                      std::move(exchange));
        } else {
            exchange.end();
            std::replace(results.begin(), results.end(), unknown, std::exception_ptr{});
        }
    } catch (const OperationalError&) {
        broken = std::current_exception();
    }
    if (broken) std::replace(results.begin(), results.end(), unknown, broken);
    co_return results;
}

async::Operation<std::optional<Delivery>> AmqpChannel::basic_get(std::string_view queue, bool no_ack,
                                                                 Deadline deadline) {
    return connection_->run(get(connection_->session(), channel_, std::string{queue}, no_ack), deadline);
}

async::Operation<std::optional<Delivery>> AmqpChannel::wait_for_message(const Queue& queue, bool no_ack,
                                                                        Deadline wait_until) {
    // The operation keeps its own time; round trips to begin and to end may take longer than the wait.
    const Deadline deadline = wait_until.is_never()
                                  ? wait_until
                                  : Deadline::at(std::max(wait_until.when(), Clock::now()) + std::chrono::seconds{4});
    return connection_->run(amqp::wait_for_message(connection_->session(), channel_, queue, no_ack, wait_until),
                            deadline);
}

async::Operation<> AmqpChannel::basic_ack(std::uint64_t delivery_tag, Deadline deadline) {
    AmqpConnection::Driver::Exchange exchange = connection_->begin();
    acknowledge(connection_->session(), *channel_, delivery_tag);
    if (!connection_->driver().try_send()) co_await connection_->driver().flush(deadline);
    exchange.end();
}

async::Operation<> AmqpChannel::basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) {
    AmqpConnection::Driver::Exchange exchange = connection_->begin();
    reject(connection_->session(), *channel_, delivery_tag, requeue);
    if (!connection_->driver().try_send()) co_await connection_->driver().flush(deadline);
    exchange.end();
}

}  // namespace kombu::amqp
