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
constexpr std::chrono::milliseconds look_interval{5};

}  // namespace

AmqpChannel::AmqpChannel(std::shared_ptr<AmqpConnection> connection, std::shared_ptr<ChannelState> channel)
    : connection_(std::move(connection)), channel_(std::move(channel)) {}

AmqpChannel::~AmqpChannel() {
    if (!ended_) AmqpChannel::close_nowait();
}

bool AmqpChannel::is_open() const noexcept { return channel_->is_open() && connection_->is_open(); }

void AmqpChannel::close(Deadline deadline) {
    ended_ = true;
    if (is_open()) connection_->run(close_channel(connection_->session(), channel_), deadline);
}

bool AmqpChannel::close_nowait() noexcept try {
    ended_ = true;
    if (!is_open()) return connection_->is_open();
    close_channel_nowait(connection_->session(), *channel_);
    return connection_->try_send();
} catch (const std::exception&) {
    return false;
}

void AmqpChannel::exchange_declare(const Exchange& exchange, Deadline deadline) {
    connection_->run(declare_exchange(connection_->session(), channel_, exchange), deadline);
}

void AmqpChannel::exchange_delete(std::string_view name, bool if_unused, Deadline deadline) {
    connection_->run(delete_exchange(connection_->session(), channel_, std::string{name}, if_unused), deadline);
}

QueueInfo AmqpChannel::queue_declare(const Queue& queue, Deadline deadline) {
    return connection_->run(declare_queue(connection_->session(), channel_, queue), deadline);
}

void AmqpChannel::queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                             const Json& arguments, Deadline deadline) {
    connection_->run(bind_queue(connection_->session(), channel_, std::string{queue}, std::string{exchange},
                                std::string{routing_key}, arguments),
                     deadline);
}

void AmqpChannel::queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                               const Json& arguments, Deadline deadline) {
    connection_->run(unbind_queue(connection_->session(), channel_, std::string{queue}, std::string{exchange},
                                  std::string{routing_key}, arguments),
                     deadline);
}

std::uint32_t AmqpChannel::queue_purge(std::string_view name, Deadline deadline) {
    return connection_->run(purge_queue(connection_->session(), channel_, std::string{name}), deadline);
}

std::uint32_t AmqpChannel::queue_delete(std::string_view name, bool if_unused, bool if_empty, Deadline deadline) {
    return connection_->run(delete_queue(connection_->session(), channel_, std::string{name}, if_unused, if_empty),
                            deadline);
}

void AmqpChannel::basic_publish(const OutgoingMessage& message, Deadline deadline, OptionalTimeout confirm_timeout) {
    connection_->check_open();
    if (!connection_->confirms()) return publish_unconfirmed(message, deadline);
    if (connection_->session().blocked()) connection_->run(await_unblocked(connection_->session(), deadline), deadline);
    publish(connection_->session(), *channel_, message);
    const std::uint64_t number = channel_->confirms.published();
    connection_->send(deadline);
    const Deadline until = std::min(deadline, Deadline::after(confirm_timeout));
    connection_->run(await_confirm(connection_->session(), channel_, number, until), deadline);
}

void AmqpChannel::publish_unconfirmed(const OutgoingMessage& message, Deadline deadline) {
    if (next_look_.expired()) {
        connection_->take_in();
        if (channel_->refusal)
            throw ChannelError("an earlier message was refused, and this one was not sent: " + channel_->refusal->text,
                               channel_->refusal->code);
        next_look_ = Deadline::after(look_interval);
    }
    publish(connection_->session(), *channel_, message);
    connection_->send(deadline);
}

std::optional<Delivery> AmqpChannel::basic_get(std::string_view queue, bool no_ack, Deadline deadline) {
    return connection_->run(get(connection_->session(), channel_, std::string{queue}, no_ack), deadline);
}

std::optional<Delivery> AmqpChannel::wait_for_message(const Queue& queue, bool no_ack, Deadline wait_until) {
    // The operation keeps its own time; round trips to begin and to end may take longer than the wait.
    const Deadline deadline = wait_until.is_never()
                                  ? wait_until
                                  : Deadline::at(std::max(wait_until.when(), Clock::now()) + std::chrono::seconds{4});
    return connection_->run(amqp::wait_for_message(connection_->session(), channel_, queue, no_ack, wait_until),
                            deadline);
}

void AmqpChannel::basic_ack(std::uint64_t delivery_tag, Deadline deadline) {
    connection_->check_open();
    acknowledge(connection_->session(), *channel_, delivery_tag);
    connection_->send(deadline);
}

void AmqpChannel::basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) {
    connection_->check_open();
    reject(connection_->session(), *channel_, delivery_tag, requeue);
    connection_->send(deadline);
}

}  // namespace kombu::amqp
