#include <kombu/channel.hpp>
#include <kombu/error.hpp>
#include <kombu/transport.hpp>

#include "checks.hpp"
#include "connection_state.hpp"

#include <utility>

namespace kombu {

namespace detail {

ConnectionRef::ConnectionRef(std::shared_ptr<ConnectionState> state) : state_(std::move(state)) {
    if (state_) tenancy_ = state_->tenancy();
}

ConnectionState& ConnectionRef::use() const {
    if (!state_) throw LeaseError("there is no connection");
    if (state_->tenancy() != tenancy_) throw LeaseError("the connection was given back to its pool");
    return *state_;
}

ChannelHandle::ChannelHandle(ConnectionRef connection, std::shared_ptr<TransportChannel> channel)
    : connection_(std::move(connection)), channel_(std::move(channel)) {}

TransportChannel& ChannelHandle::use() const {
    connection_.use();
    return *channel_;
}

Deadline ChannelHandle::deadline(OptionalTimeout timeout) const { return connection_.use().deadline(timeout); }

}  // namespace detail

namespace {

void check_binding(std::string_view queue, std::string_view exchange, std::string_view routing_key) {
    check_name(queue, "queue name");
    check_name(exchange, "exchange name");
    check_name(routing_key, "routing_key");
}

}  // namespace

bool Channel::is_open() const { return handle_.use().is_open(); }

void Channel::close(OptionalTimeout timeout) { handle_.use().close(handle_.deadline(timeout)); }

void Channel::exchange_declare(const Exchange& exchange, OptionalTimeout timeout) {
    if (exchange.name().empty() || exchange.name().starts_with("amq.") || exchange.options().no_declare) return;
    handle_.use().exchange_declare(exchange, handle_.deadline(timeout));
}

void Channel::exchange_delete(std::string_view name, bool if_unused, OptionalTimeout timeout) {
    check_name(name, "exchange name");
    handle_.connection().use().forget_declarations();
    handle_.use().exchange_delete(name, if_unused, handle_.deadline(timeout));
}

QueueInfo Channel::queue_declare(const Queue& queue, OptionalTimeout timeout) {
    return handle_.use().queue_declare(queue, handle_.deadline(timeout));
}

void Channel::queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                         const Json& arguments, OptionalTimeout timeout) {
    check_binding(queue, exchange, routing_key);
    handle_.use().queue_bind(queue, exchange, routing_key, arguments, handle_.deadline(timeout));
}

void Channel::queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                           const Json& arguments, OptionalTimeout timeout) {
    check_binding(queue, exchange, routing_key);
    handle_.use().queue_unbind(queue, exchange, routing_key, arguments, handle_.deadline(timeout));
}

std::uint32_t Channel::queue_purge(std::string_view name, OptionalTimeout timeout) {
    check_name(name, "queue name");
    return handle_.use().queue_purge(name, handle_.deadline(timeout));
}

std::uint32_t Channel::queue_delete(std::string_view name, bool if_unused, bool if_empty, OptionalTimeout timeout) {
    check_name(name, "queue name");
    handle_.connection().use().forget_declarations();
    return handle_.use().queue_delete(name, if_unused, if_empty, handle_.deadline(timeout));
}

std::optional<Message> Channel::basic_get(std::string_view queue, bool no_ack, ContentTypes accept,
                                          OptionalTimeout timeout) {
    check_name(queue, "queue name");
    auto delivery = handle_.use().basic_get(queue, no_ack, handle_.deadline(timeout));
    if (!delivery) return std::nullopt;
    return Message{std::move(*delivery), handle_, no_ack, std::move(accept)};
}

void Channel::declare(const Entity& entity, OptionalTimeout timeout) {
    if (const auto* exchange = std::get_if<Exchange>(&entity)) return exchange_declare(*exchange, timeout);

    const Deadline deadline = handle_.deadline(timeout);
    const auto left = [&] { return OptionalTimeout{deadline.remaining()}; };
    const auto& queue = std::get<Queue>(entity);
    if (queue.options().no_declare) return;
    exchange_declare(queue.exchange(), left());
    const std::string name = queue_declare(queue, left()).name;
    if (!queue.exchange().name().empty())
        queue_bind(name, queue.exchange().name(), queue.routing_key(), queue.options().binding_arguments, left());
    for (const Binding& binding : queue.options().bindings) {
        exchange_declare(binding.exchange, left());
        queue_bind(name, binding.exchange.name(), binding.routing_key, binding.arguments, left());
    }
}

}  // namespace kombu
