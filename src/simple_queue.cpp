#include <kombu/error.hpp>
#include <kombu/simple_queue.hpp>
#include <kombu/transport.hpp>

#include "connection_state.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu {
namespace {

/// What a broker that is well, however far away, needs to answer.
constexpr std::chrono::seconds round_trip{1};

}  // namespace

SimpleQueue::SimpleQueue(Connection& connection, Queue queue, SimpleQueueOptions options)
    : connection_(connection.state()),
      queue_(std::move(queue)),
      options_(std::move(options)),
      producer_(connection, {.exchange = queue_.exchange(),
                             .serializer = options_.serializer,
                             .auto_declare = false,
                             .compression = options_.compression}) {
    if (queue_.name().empty()) throw ConfigurationError("simple_queue: the queue needs a name");
    // Always, as in Kombu: it may have been deleted since this session declared it.
    detail::ConnectionState& state = connection_.use();
    const Deadline deadline = state.deadline({});
    Channel{{connection_, state.default_channel(deadline)}}.declare(queue_, deadline.remaining());
}

PublishOptions SimpleQueue::addressed(PublishOptions options) const {
    if (!options.routing_key)
        options.routing_key = queue_.exchange().name().empty() ? queue_.name() : queue_.routing_key();
    return options;
}

Message SimpleQueue::get(const GetOptions& options) {
    detail::ConnectionState& connection = connection_.use();
    const bool no_ack = options_.no_ack.value_or(queue_.options().no_ack);
    const Deadline until = Deadline::after(options.timeout);
    // The timeout is for waiting on a message. What must be asked of the broker takes a round trip, however short it
    // is.
    const Deadline by = std::min(std::max(until, Deadline::after(round_trip)), connection.deadline({}));
    const auto channel = connection.default_channel(by);
    auto delivery = options.block ? channel->wait_for_message(queue_, no_ack, until)
                                  : channel->basic_get(queue_.name(), no_ack, by);
    if (!delivery) throw Empty("the queue " + queue_.name() + " is empty");
    return Message{std::move(*delivery), {connection_, channel}, no_ack, options_.accept};
}

std::uint32_t SimpleQueue::clear(OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.use();
    const Deadline deadline = connection.deadline(timeout);
    return connection.default_channel(deadline)->queue_purge(queue_.name(), deadline);
}

std::uint32_t SimpleQueue::qsize(OptionalTimeout timeout) {
    detail::ConnectionState& connection = connection_.use();
    const Deadline deadline = connection.deadline(timeout);
    const Queue passive{queue_.name(), {}, {}, {.passive = true}};
    return connection.default_channel(deadline)->queue_declare(passive, deadline).messages;
}

}  // namespace kombu
