#include <kombu/error.hpp>
#include <kombu/simple_queue.hpp>
#include <kombu/transport.hpp>

#include "client/connection_state.hpp"
#include "client/declare.hpp"
#include "net/blocking_driver.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu {
namespace {

/// What a broker that is well, however far away, needs to answer.
constexpr std::chrono::seconds round_trip{1};

}  // namespace

SimpleQueue::SimpleQueue(Connection& connection, Queue queue, SimpleQueueOptions options) {
    set_up(connection, std::move(queue), std::move(options));
    net::run(declare_operation());
}

Operation<SimpleQueue> SimpleQueue::open_operation(Connection& connection, Queue queue, SimpleQueueOptions options) {
    SimpleQueue made;
    made.set_up(connection, std::move(queue), std::move(options));
    return [](SimpleQueue opened) -> Operation<SimpleQueue> {
        co_await opened.declare_operation();
        co_return opened;
    }(std::move(made));
}

void SimpleQueue::set_up(Connection& connection, Queue queue, SimpleQueueOptions options) {
    if (queue.name().empty()) throw ConfigurationError("simple_queue: the queue needs a name");
    connection_ = detail::ConnectionRef{connection.state()};
    queue_ = std::move(queue);
    options_ = std::move(options);
    producer_ = Producer{connection,
                         {.exchange = queue_.exchange(),
                          .serializer = options_.serializer,
                          .auto_declare = false,
                          .compression = options_.compression}};
}

// Always, as in Kombu: it may have been deleted since this session declared it.
Operation<> SimpleQueue::declare_operation() {
    const detail::ConnectionRef connection = connection_;
    const Queue queue = queue_;
    detail::ConnectionState& state = connection.use();
    const detail::ConnectionState::Use use{state};
    const Deadline deadline = state.deadline({});
    const auto channel = co_await state.default_channel(deadline);
    co_await declare(*channel, queue, deadline);
    co_await channel->prepare_to_receive(queue, deadline);
}

PublishOptions SimpleQueue::addressed(PublishOptions options) const {
    if (!options.routing_key)
        options.routing_key = queue_.exchange().name().empty() ? queue_.name() : queue_.routing_key();
    return options;
}

Message SimpleQueue::get(const GetOptions& options) { return net::run(get_operation(options)); }

Operation<Message> SimpleQueue::get_operation(GetOptions options) {
    const detail::ConnectionRef connection = connection_;
    detail::ConnectionState& state = connection.use();
    const detail::ConnectionState::Use use{state};
    const bool no_ack = options_.no_ack.value_or(queue_.options().no_ack);
    const Deadline until = Deadline::after(options.timeout);
    // The timeout is for waiting on a message. What must be asked of the broker takes a round trip, however short it
    // is.
    const Deadline by = std::min(std::max(until, Deadline::after(round_trip)), state.deadline({}));
    const auto channel = co_await state.default_channel(by);
    std::optional<Delivery> delivery;
    if (options.block)
        delivery = co_await channel->wait_for_message(queue_, no_ack, until);
    else
        delivery = co_await channel->basic_get(queue_.name(), no_ack, by);
    if (!delivery) throw Empty("the queue " + queue_.name() + " is empty");
    co_return Message{std::move(*delivery), {connection, channel}, no_ack, options_.accept};
}

std::uint32_t SimpleQueue::clear(OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.use();
    const detail::ConnectionState::Use use{connection};
    const Deadline deadline = connection.deadline(timeout);
    const auto channel = net::run(connection.default_channel(deadline));
    return net::run(channel->queue_purge(queue_.name(), deadline));
}

std::uint32_t SimpleQueue::qsize(OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.use();
    const detail::ConnectionState::Use use{connection};
    const Deadline deadline = connection.deadline(timeout);
    const Queue passive{queue_.name(), {}, {}, {.passive = true}};
    const auto channel = net::run(connection.default_channel(deadline));
    return net::run(channel->queue_declare(passive, deadline)).messages;
}

}  // namespace kombu
