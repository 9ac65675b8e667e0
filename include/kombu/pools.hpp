// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/pool/pool_group.hpp>
#include <kombu/pool/resource_pool.hpp>
#include <kombu/producer.hpp>

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
class ConnectLog;
}

/// Connection and producer pools, one per broker: Kombu's `kombu.pools`.
namespace kombu::pools {

/// Connections to one broker.
///
/// A lease lends an exclusive Connection, which connects when it is first used. A connection whose peer has gone is
/// replaced before it is lent. When a lease ends, a connection that failed, or that has something half-done on the
/// wire, is closed; a healthy one is kept, also when an exception of the application ended the lease. Channels other
/// than the default one are closed, and messages that were not settled go back to their queues.
class KOMBU_EXPORT ConnectionPool : public ResourcePool<Connection> {
public:
    explicit ConnectionPool(const Connection& connection, PoolOptions options = {.limit = 10});

    /// The broker, as a connection that never connects.
    const Connection& connection() const noexcept { return *connection_; }

    /// As ResourcePool::stats, with the times that connecting took, whenever that was.
    PoolStats stats() const;

    /// How connecting failed last; empty when it did not, or has worked since.
    std::string last_connect_error() const;

private:
    using Log = std::shared_ptr<kombu::detail::ConnectLog>;
    ConnectionPool(std::shared_ptr<const Connection> connection, Log connect_log, PoolOptions options);
    std::shared_ptr<const Connection> connection_;
    Log connect_log_;
};

/// Producers for one broker. A producer in use holds a connection of its connection pool; an idle one holds none.
/// One deadline covers both: a producer that finds no connection in time throws ConnectionLimitExceeded.
class KOMBU_EXPORT ProducerPool : public ResourcePool<Producer> {
public:
    /// Where the connections come from: asked at each acquire, and kept for as long as that takes.
    using Source = std::function<std::shared_ptr<ConnectionPool>()>;

    /// The connection pool must outlive this one; leases may outlive both.
    explicit ProducerPool(ConnectionPool& connections, PoolOptions options = {.limit = 10});
    explicit ProducerPool(Source connections, PoolOptions options = {.limit = 10});

    ConnectionPool& connections() const { return *(*source_)(); }

    /// Has `count` connections made, which is what costs time, and then as many producers.
    void warm_up(std::size_t count, Deadline deadline,
                 const std::source_location& site = std::source_location::current());
    void warm_up(std::size_t count, OptionalTimeout timeout = {},
                 const std::source_location& site = std::source_location::current()) {
        warm_up(count, Deadline::after(timeout), site);
    }

private:
    ProducerPool(std::shared_ptr<const Source> source, PoolOptions options);
    std::shared_ptr<const Source> source_;
};

/// Follow the global limit, now and after each set_limit().
inline constexpr UseGlobalLimit use_global_limit{};
/// The same by Kombu's older name.
inline constexpr UseGlobalLimit use_default_limit{};

/// The options of every pool of a group without options of its own (see PoolGroup::configure). The limit is the global
/// one unless set. Pool names are `NAME@URL`.
using ConnectionsOptions = BasicPoolOptions<GroupLimit>;

}  // namespace kombu::pools

extern template class KOMBU_EXPORT kombu::PoolGroup<kombu::Connection, kombu::pools::ConnectionPool>;
extern template class KOMBU_EXPORT kombu::PoolGroup<kombu::Connection, kombu::pools::ProducerPool>;

namespace kombu::pools {

/// A connection pool for each broker: `connections[connection].acquire()`.
class KOMBU_EXPORT Connections : public PoolGroup<Connection, ConnectionPool> {
public:
    explicit Connections(ConnectionsOptions options = {});
};

/// As ConnectionsOptions, and `connections` says where the connections come from.
using ProducersOptions = BasicPoolOptions<GroupLimit, Connections*>;

/// A producer pool for each broker: `producers[connection].acquire()`.
class KOMBU_EXPORT Producers : public PoolGroup<Connection, ProducerPool> {
public:
    explicit Producers(ProducersOptions options = {});
};

}  // namespace kombu::pools

namespace kombu::detail {
KOMBU_EXPORT pools::Connections& global_connections();
KOMBU_EXPORT pools::Producers& global_producers();
KOMBU_EXPORT GroupRegistry& global_registry();
}  // namespace kombu::detail

namespace kombu::pools {

/// The two groups of the process. They exist once, whatever the number of shared objects that use them, before any
/// other static object that can name them, and are never destroyed. When the process exits, their idle connections are
/// closed politely, within one second for all of them.
inline Connections& connections = kombu::detail::global_connections();
inline Producers& producers = kombu::detail::global_producers();

/// The limit of every pool that follows it. 200 at first.
KOMBU_EXPORT std::size_t get_limit();

struct SetLimitOptions {
    /// Shrink pools in use, dragging their resources away.
    bool force = false;
    /// Empty every pool, as reset() does, whether it grows or shrinks.
    bool reset_after = false;
    /// Shrink softly: what is in use beyond the limit is closed when it comes back.
    bool ignore_errors = false;
};

/// Changes the limit of every pool that follows it, or of none: throws PoolInUse, changing nothing, when one would have
/// to shrink while it is in use and the options do not allow it. 0 means unlimited. Returns the limit.
KOMBU_EXPORT std::size_t set_limit(std::size_t limit, const SetLimitOptions& options = {});

/// Closes every connection of the global groups and of those registered. What is in use is interrupted and no longer
/// counted. Pools, and references to them, stay valid and work on.
KOMBU_EXPORT void reset() noexcept;

/// What every pool of the global groups and of those registered looks like.
KOMBU_EXPORT std::vector<PoolStats> stats();

/// Has a group of one's own take part in reset() and stats(), and in set_limit() when it follows the global limit. It
/// leaves by itself when it is destroyed. Returns the group.
template <class Group>
Group& register_group(Group& group) {
    kombu::detail::global_registry().add(group);
    return group;
}

}  // namespace kombu::pools
