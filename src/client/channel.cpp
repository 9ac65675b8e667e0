// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/channel.hpp>
#include <kombu/error.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/declare.hpp"
#include "messages/forbidden_value.hpp"
#include "net/blocking_driver.hpp"
#include "support/validation.hpp"

#include <utility>

namespace kombu {

namespace detail {

ConnectionRef::ConnectionRef(std::shared_ptr<ConnectionState> state) : state_(std::move(state)) {
    if (state_) lease_generation_ = state_->lease_generation();
}

void ConnectionRef::assign(const std::shared_ptr<ConnectionState>& state) {
    if (state_ != state) state_ = state;  // counting costs more than the rest
    lease_generation_ = state_ ? state_->lease_generation() : 0;
}

ConnectionState& ConnectionRef::checked() const {
    if (!state_) throw LeaseError("no connection is set");
    if (state_->lease_generation() != lease_generation_) throw LeaseError("the connection was returned to its pool");
    return *state_;
}

ChannelHandle::ChannelHandle(ConnectionRef connection, std::shared_ptr<TransportChannel> channel)
    : connection_(std::move(connection)), channel_(std::move(channel)) {}

TransportChannel& ChannelHandle::checked() const {
    connection_.checked();
    return *channel_;
}

Deadline ChannelHandle::deadline(OptionalTimeout timeout) const { return connection_.checked().deadline(timeout); }

}  // namespace detail

namespace {

using detail::ChannelHandle;

/// Runs an operation on the channel, on the caller's thread.
template <class Start>
auto run_on_channel(const ChannelHandle& handle, OptionalTimeout timeout, Start start) {
    detail::ConnectionState& connection = handle.connection().checked();
    const detail::ConnectionState::OperationGuard guard{connection};
    return net::run(start(handle.checked(), connection.deadline(timeout)));
}

void check_binding(std::string_view destination, const char* kind, std::string_view exchange,
                   std::string_view routing_key, const Json& arguments) {
    check_arguments(arguments, "arguments");
    check_name(destination, kind);
    check_name(exchange, "exchange name");
    check_name(routing_key, "routing_key");
}

}  // namespace

bool Channel::is_open() const { return handle_.checked().is_open(); }

void Channel::close(OptionalTimeout timeout) {
    run_on_channel(handle_, timeout,
                   [](TransportChannel& channel, Deadline deadline) { return channel.close(deadline); });
}

void Channel::exchange_declare(const Exchange& exchange, OptionalTimeout timeout) {
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return kombu::declare(channel, exchange, deadline);
    });
}

void Channel::exchange_delete(std::string_view name, bool if_unused, OptionalTimeout timeout) {
    check_name(name, "exchange name");
    handle_.connection().checked().forget_declarations();
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.exchange_delete(name, if_unused, deadline);
    });
}

void Channel::exchange_bind(std::string_view destination, std::string_view source, std::string_view routing_key,
                            const Json& arguments, OptionalTimeout timeout) {
    check_binding(destination, "exchange name", source, routing_key, arguments);
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.exchange_bind(destination, source, routing_key, arguments, deadline);
    });
}

void Channel::exchange_unbind(std::string_view destination, std::string_view source, std::string_view routing_key,
                              const Json& arguments, OptionalTimeout timeout) {
    check_binding(destination, "exchange name", source, routing_key, arguments);
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.exchange_unbind(destination, source, routing_key, arguments, deadline);
    });
}

QueueInfo Channel::queue_declare(const Queue& queue, OptionalTimeout timeout) {
    return run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.queue_declare(queue, deadline);
    });
}

void Channel::queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                         const Json& arguments, OptionalTimeout timeout) {
    check_binding(queue, "queue name", exchange, routing_key, arguments);
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.queue_bind(queue, exchange, routing_key, arguments, deadline);
    });
}

void Channel::queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                           const Json& arguments, OptionalTimeout timeout) {
    check_binding(queue, "queue name", exchange, routing_key, arguments);
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.queue_unbind(queue, exchange, routing_key, arguments, deadline);
    });
}

std::uint32_t Channel::queue_purge(std::string_view name, OptionalTimeout timeout) {
    check_name(name, "queue name");
    return run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.queue_purge(name, deadline);
    });
}

std::uint32_t Channel::queue_delete(std::string_view name, bool if_unused, bool if_empty, OptionalTimeout timeout) {
    check_name(name, "queue name");
    handle_.connection().checked().forget_declarations();
    return run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.queue_delete(name, if_unused, if_empty, deadline);
    });
}

std::optional<Message> Channel::basic_get(std::string_view queue, bool no_ack, ContentTypes accept,
                                          OptionalTimeout timeout) {
    check_name(queue, "queue name");
    auto delivery = run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return channel.basic_get(queue, no_ack, deadline);
    });
    if (!delivery) return std::nullopt;
    return detail::ClientAccess::message(std::move(delivery), handle_, no_ack, std::move(accept));
}

void Channel::declare(const Entity& entity, OptionalTimeout timeout) {
    run_on_channel(handle_, timeout, [&](TransportChannel& channel, Deadline deadline) {
        return kombu::declare(channel, entity, deadline);
    });
}

}  // namespace kombu
