// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/pool/resource_pool.hpp>

extern template class KOMBU_EXPORT kombu::ResourcePool<kombu::Channel>;

namespace kombu::pools {

/// A pool of channels of one connection. A lease lends an exclusive channel. A channel that the broker has closed, or
/// whose connection has failed, is replaced before it is lent; one with unsettled messages is closed when its lease
/// ends, so that they go back to their queues. A full pool throws ChannelLimitExceeded.
///
/// For the channels of one thread: they share the connection, which one thread at a time may use. Threads that work at
/// the same time need a pool of connections. For the same reason nothing is done in the background: options such as
/// idle_timeout have their effect when the thread calls maintain().
///
/// \par Lifetime
/// The pool and its leases use the connection for as long as they exist. Once the connection was given back to its pool
/// they throw LeaseError.
/// \par Kombu
/// `Connection.ChannelPool`
class KOMBU_EXPORT ChannelPool : public ResourcePool<Channel> {
public:
    /// The channels are those of `connection`, which must outlive the pool.
    explicit ChannelPool(Connection& connection, PoolOptions options = {.limit = 10});
};

}  // namespace kombu::pools
