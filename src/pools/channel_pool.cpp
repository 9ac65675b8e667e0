// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/channel_pool.hpp>
#include <kombu/error.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"

#include <exception>
#include <memory>
#include <utility>

namespace kombu::pools {
namespace {

using kombu::detail::ClientAccess;
using kombu::detail::ConnectionRef;
using kombu::detail::ConnectionState;

ResourceFactory<Channel> channel_factory(ConnectionRef connection) {
    ResourceFactory<Channel> factory;
    factory.create = [connection](const Acquisition& acquisition) {
        ConnectionState& state = connection.checked();
        const ConnectionState::OperationGuard guard{state};
        const Deadline deadline = std::min(acquisition.deadline, state.deadline({}));
        return std::make_shared<Channel>(
            ClientAccess::channel({connection, kombu::net::run(state.open_channel(deadline))}));
    };
    factory.validate = [](Channel& channel) { return channel.is_open(); };
    factory.recycle = [](Channel& channel, bool) {
        const TransportChannel& transport = *ClientAccess::handle(channel).channel();
        return transport.is_open() && transport.unsettled() == 0;
    };
    factory.close = [](Channel& channel) { ClientAccess::handle(channel).channel()->close_nowait(); };
    factory.resource_name = "channel";
    factory.limit_error = [](LimitReport report) {
        return std::make_exception_ptr(ChannelLimitExceeded(std::move(report)));
    };
    return factory;
}

PoolOptions for_one_thread(PoolOptions options, const Connection& connection) {
    options.maintain_in_background = false;
    options.name = (options.name.empty() ? "channels" : options.name) + "@" + connection.as_uri();
    return options;
}

}  // namespace

ChannelPool::ChannelPool(Connection& connection, PoolOptions options)
    : ResourcePool(channel_factory(ConnectionRef{ClientAccess::state(connection)}),
                   for_one_thread(std::move(options), connection)) {}

}  // namespace kombu::pools

kombu::pools::ChannelPool kombu::Connection::channel_pool(std::size_t limit) {
    return pools::ChannelPool{*this, {.limit = limit}};
}

template class kombu::ResourcePool<kombu::Channel>;
