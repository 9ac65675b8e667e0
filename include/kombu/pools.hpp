// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/pool/pool_group.hpp>
#include <kombu/pool/resource_pool.hpp>
#include <kombu/producer.hpp>
#include <kombu/stats.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

// The pools of connections and producers are compiled once, in the library.
extern template class KOMBU_EXPORT kombu::ResourcePool<kombu::Connection>;
extern template class KOMBU_EXPORT kombu::ResourcePool<kombu::Producer>;

namespace kombu::detail {
class BrokerStatus;
}

/// Connection and producer pools, one per broker. Kombu: `kombu.pools`.
namespace kombu::pools {

/// A connection of a pool, and its default channel: `auto [connection, channel] = pool.acquire_channel();`
struct LeasedChannel {
    /// The lease of the connection.
    Lease<Connection> connection;
    /// Its default channel.
    Channel channel;
};

/// A pool of connections to one broker.
///
/// A lease lends an exclusive Connection, which connects at its first use. A connection whose peer has closed it is
/// replaced before it is lent. When a lease ends, a connection that failed or has an unfinished exchange is closed;
/// an intact one is kept, also when an exception of the application ended the lease. Channels other than the default
/// one are closed, and messages that were not settled go back to their queues.
///
/// See ResourcePool for thread safety, lifetime and fork.
/// \par Kombu
/// `kombu.connection.ConnectionPool`
class KOMBU_EXPORT ConnectionPool : public ResourcePool<Connection> {
public:
    /// A pool of connections to the broker of `connection`, which itself is not used.
    explicit ConnectionPool(const Connection& connection, PoolOptions options = {.limit = 10});

    /// The broker, as a connection that is never connected.
    const Connection& connection() const noexcept { return *connection_; }

    /// As ResourcePool::stats; `connect` has the durations of connecting, also of connections that connected after
    /// they were lent.
    PoolStats stats() const;

    /// Has `count` connections connected, within the limit; those in use count as connected. See
    /// ResourcePool::warm_up.
    void warm_up(std::size_t count, Deadline deadline,
                 const std::source_location& site = std::source_location::current());
    /// \overload
    void warm_up(std::size_t count, OptionalTimeout timeout = {},
                 const std::source_location& site = std::source_location::current()) {
        warm_up(count, Deadline::after(timeout), site);
    }

    /// Acquires a connection, connects it when necessary, and opens its default channel: one deadline covers it all.
    /// When that fails the connection is given back.
    /// \throws ConnectionLimitExceeded  as acquire()
    /// \throws ConnectionError  as Connection::default_channel()
    LeasedChannel acquire_channel(const AcquireOptions& options = {});

    /// The last error of connecting; empty when there was none, or connecting has succeeded since.
    std::string last_connect_error() const;

private:
    ConnectionPool(std::shared_ptr<const Connection> connection, const PoolOptions& options);
    ConnectionPool(std::shared_ptr<const Connection> connection, std::shared_ptr<kombu::detail::BrokerStatus> broker,
                   PoolOptions options);
    std::shared_ptr<const Connection> connection_;
    std::shared_ptr<kombu::detail::BrokerStatus> broker_;
};

/// A pool of producers for one broker. A producer in use holds a connection of the connection pool; an idle one holds
/// none. One deadline covers both: when no connection is free in time, acquire throws ConnectionLimitExceeded.
///
/// See ResourcePool for thread safety, lifetime and fork.
/// \par Kombu
/// `kombu.pools.ProducerPool`
class KOMBU_EXPORT ProducerPool : public ResourcePool<Producer> {
public:
    /// Returns the pool that the connections come from. Called by an acquire whose producer cannot have the connection
    /// of its last lease again; the result is kept until the acquire ends.
    using Source = std::function<std::shared_ptr<ConnectionPool>()>;

    /// The connection pool must outlive this pool. Leases may outlive both.
    explicit ProducerPool(ConnectionPool& connections, PoolOptions options = {.limit = 10});
    /// \overload
    explicit ProducerPool(Source connections, PoolOptions options = {.limit = 10});

    /// As ResourcePool::stats, with the key. What concerns connecting is in the statistics of the connection pool.
    PoolStats stats() const;

    /// The pool that the connections come from.
    ConnectionPool& connections() const { return *(*source_)(); }

    /// Creates `count` connections, then as many producers; see ResourcePool::warm_up.
    void warm_up(std::size_t count, Deadline deadline,
                 const std::source_location& site = std::source_location::current());
    /// \overload
    void warm_up(std::size_t count, OptionalTimeout timeout = {},
                 const std::source_location& site = std::source_location::current()) {
        warm_up(count, Deadline::after(timeout), site);
    }

private:
    ProducerPool(std::shared_ptr<const Source> source, PoolOptions options);
    ProducerPool(const std::shared_ptr<const Source>& source, const Connection& connection, PoolOptions options);
    std::shared_ptr<const Source> source_;
    std::string key_;
};

/// A limit that follows the global one, now and after each set_limit().
inline constexpr UseGlobalLimit use_global_limit{};
/// As use_global_limit, by Kombu's older name.
inline constexpr UseGlobalLimit use_default_limit{};

/// The options of every pool of a group without options of its own (see PoolGroup::configure). The limit is the global
/// one unless set. Pool names are `NAME@URL`.
using ConnectionsOptions = BasicPoolOptions<GroupLimit>;

}  // namespace kombu::pools

extern template class KOMBU_EXPORT kombu::PoolGroup<kombu::Connection, kombu::pools::ConnectionPool>;
extern template class KOMBU_EXPORT kombu::PoolGroup<kombu::Connection, kombu::pools::ProducerPool>;

namespace kombu::pools {

/// A connection pool for each broker: `connections[connection].acquire()`.
/// \par Kombu
/// `kombu.pools.Connections`
class KOMBU_EXPORT Connections : public PoolGroup<Connection, ConnectionPool> {
public:
    /// \param options  of every pool without options of its own
    explicit Connections(ConnectionsOptions options = {});
};

/// As ConnectionsOptions, and `connections` says where the connections come from.
using ProducersOptions = BasicPoolOptions<GroupLimit, Connections*>;

/// A producer pool for each broker: `producers[connection].acquire()`.
/// \par Kombu
/// `kombu.pools.Producers`
class KOMBU_EXPORT Producers : public PoolGroup<Connection, ProducerPool> {
public:
    /// \param options  of every pool without options of its own
    explicit Producers(ProducersOptions options = {});
};

}  // namespace kombu::pools

namespace kombu::detail {
KOMBU_EXPORT pools::Connections& global_connections();
KOMBU_EXPORT pools::Producers& global_producers();
KOMBU_EXPORT GroupRegistry& global_registry();
}  // namespace kombu::detail

namespace kombu::pools {

/// The two groups of the process. Each exists once, whatever the number of shared objects that use it, is initialised
/// before any other static object that can name it, and is never destroyed. When the process exits, idle connections
/// are closed, within one second for all of them.
inline Connections& connections = kombu::detail::global_connections();
/// See pools::connections.
inline Producers& producers = kombu::detail::global_producers();

/// The global limit, which is 200 at first.
KOMBU_EXPORT std::size_t get_limit();

/// What set_limit() may do to resources in use. By default it refuses to shrink a pool in use.
struct SetLimitOptions {
    /// Shrink pools in use: their resources are interrupted, as by reset().
    bool force = false;
    /// Reset every pool, whether it grows or shrinks.
    bool reset_after = false;
    /// Shrink softly: leased resources above the new limit are closed when their lease ends.
    bool ignore_errors = false;
};

/// Changes the limit of every pool that follows the global one: of all or, when it throws, of none.
/// \param limit  0 means unlimited
/// \param options  what may happen to resources in use
/// \return the limit
/// \throws PoolInUse  when a pool would shrink while it is in use and the options do not allow it
/// \par Kombu
/// `kombu.pools.set_limit`
KOMBU_EXPORT std::size_t set_limit(std::size_t limit, const SetLimitOptions& options = {});

/// Closes every connection of the global groups and of the registered ones. Connections in use are interrupted and no
/// longer counted. Pools, and references to them, stay valid and work, also those that were closed before.
/// \par Kombu
/// `kombu.pools.reset`
KOMBU_EXPORT void reset() noexcept;

/// Closes every pool of the global groups and of the registered ones gently, and waits until every lease is back: for
/// the shutdown of a service. Acquires throw PoolClosed until reset().
/// \param timeout  for all pools together; not set: as long as it takes
/// \return the number of leases that are not back; 0 when all are
KOMBU_EXPORT std::size_t close_and_wait(OptionalTimeout timeout = {});

/// The statistics of every pool of the global groups and of the registered ones.
KOMBU_EXPORT std::vector<PoolStats> stats();

/// Registers a group for reset() and stats(), and for set_limit() when it follows the global limit. The group leaves
/// when it is destroyed.
/// \return the group
/// \throws ConfigurationError  when the group belongs to another registry
/// \par Kombu
/// `kombu.pools.register_group`
template <class Group>
Group& register_group(Group& group) {
    kombu::detail::global_registry().add(group);
    return group;
}

}  // namespace kombu::pools
