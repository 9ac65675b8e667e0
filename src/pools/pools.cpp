// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/pools.hpp>

#include <kombu/pool/async.hpp>

#include "client/broker_status.hpp"
#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"
#include "pools/pooled_producer.hpp"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <source_location>
#include <utility>

namespace kombu::pools {
namespace {

using kombu::detail::ConnectionState;

constexpr std::size_t default_limit = 200;

/// By the identity, whichever endpoint is in use: a clone is not connected.
std::string pool_name(const Connection& connection, const char* kind, const std::string& base_name) {
    return (base_name.empty() ? kind : base_name) + "@" + connection.clone().as_uri();
}

/// Null for a moved-from connection, which the pool does not keep.
ConnectionState* state_of(const Connection& connection) noexcept {
    return kombu::detail::ClientAccess::state(connection).get();
}

ResourceFactory<Connection> connection_factory(std::shared_ptr<const Connection> prototype,
                                               std::shared_ptr<kombu::detail::BrokerStatus> broker) {
    ResourceFactory<Connection> factory;
    factory.create = [prototype, broker](const Acquisition& acquisition) {
        auto connection = std::make_shared<Connection>(*prototype);
        if (state_of(*connection)) {
            state_of(*connection)->set_broker_status(broker);
            if (acquisition.preloading) kombu::net::run(state_of(*connection)->connect(acquisition.deadline));
        }
        return connection;
    };
    factory.close = [](Connection& connection) {
        if (state_of(connection)) state_of(connection)->close_for_good();
    };
    factory.last_error = [broker] { return broker->last_error(); };
    factory.interrupt = [](Connection& connection) {
        if (state_of(connection)) state_of(connection)->interrupt();
    };
    factory.resource_name = "connection";
    factory.limit_error = [](LimitReport report) {
        return std::make_exception_ptr(ConnectionLimitExceeded(std::move(report)));
    };
    return factory;
}

class ConnectionHooks final : public kombu::detail::FactoryHooks<Connection> {
public:
    ConnectionHooks(std::shared_ptr<const Connection> prototype, std::shared_ptr<kombu::detail::BrokerStatus> broker)
        : FactoryHooks(connection_factory(prototype, std::move(broker)), {.validate = true, .recycle = true}),
          prototype_(std::move(prototype)) {}

    bool validate(void* resource) const noexcept override {
        ConnectionState* const state = state_of(typed(resource));
        return state && state->is_alive();
    }
    // A holder may have assigned a different connection to this one, which the pool must not lease out.
    bool recycle(void* resource, bool) const noexcept override {
        const Connection& connection = typed(resource);
        ConnectionState* const state = state_of(connection);
        return state && connection == *prototype_ && state->recycle();
    }

private:
    const std::shared_ptr<const Connection> prototype_;
};
PooledProducer& pooled(Producer& producer) { return static_cast<PooledProducer&>(producer); }

ResourceFactory<Producer> producer_factory(std::shared_ptr<const ProducerPool::Source> connections) {
    ResourceFactory<Producer> factory;
    factory.create = [](const Acquisition&) -> std::shared_ptr<Producer> { return std::make_shared<PooledProducer>(); };
    factory.prepare = [connections](Producer& producer, const Acquisition& acquisition) {
        // The options of the acquire apply to producer and connection: a non-blocking caller waits for neither.
        const Deadline deadline = acquisition.deadline;
        const std::shared_ptr<ConnectionPool> pool = (*connections)();
        pooled(producer).begin_lease(
            pool->acquire({.block = acquisition.block,
                           .timeout = deadline.is_never() ? OptionalTimeout{} : deadline.remaining(),
                           .site = acquisition.site}));
        return true;
    };
    factory.async_prepare = async::prepare_with<Producer>(
        [connections](Producer& producer, const Acquisition& acquisition) -> async::Operation<bool> {
            const Deadline deadline = acquisition.deadline;
            const std::shared_ptr<ConnectionPool> pool = (*connections)();
            Lease<Connection> lease = kombu::detail::PoolAccess::try_acquire_idle(*pool, acquisition.site);
            if (!lease)
                lease = co_await async::acquire(
                    *pool, {.timeout = deadline.is_never() ? OptionalTimeout{} : deadline.remaining(),
                            .site = acquisition.site});
            pooled(producer).begin_lease(std::move(lease));
            co_return true;
        });
    factory.close = [](Producer& producer) { pooled(producer).end_lease(true); };
    factory.interrupt = [](Producer& producer) { pooled(producer).interrupt(); };
    factory.last_error = [connections] { return (*connections)()->last_connect_error(); };
    factory.resource_name = "producer";
    return factory;
}

class ProducerHooks final : public kombu::detail::FactoryHooks<Producer> {
public:
    explicit ProducerHooks(std::shared_ptr<const ProducerPool::Source> connections)
        : FactoryHooks(producer_factory(std::move(connections)), {.try_prepare = true, .recycle = true}) {}

    bool try_prepare(void* resource, const std::source_location& site, std::int64_t now) const noexcept override {
        return pooled(typed(resource)).try_begin_lease(site, now);
    }
    bool recycle(void* resource, bool) const noexcept override {
        pooled(typed(resource)).end_lease(false);
        return true;
    }
};

PoolOptions with_pool_name(PoolOptions options, const Connection& connection, const char* kind) {
    options.name = pool_name(connection, kind, options.name);
    return options;
}

}  // namespace

ConnectionPool::ConnectionPool(const Connection& connection, PoolOptions options)
    : ConnectionPool(std::make_shared<const Connection>(connection),
                     with_pool_name(std::move(options), connection, "connections")) {}

PoolStats ConnectionPool::stats() const {
    PoolStats stats = ResourcePool::stats();
    stats.key = connection_->clone().as_uri();
    broker_->add_to(stats);
    return stats;
}

void ConnectionPool::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    // An idle connection may not have been connected yet, or not any more.
    std::vector<Lease<Connection>> connected;
    while (connected.size() < count) {
        Lease<Connection> lease = acquire_idle(site);
        if (!lease) break;
        if (ConnectionState* const state = state_of(*lease)) {
            const ConnectionState::OperationGuard guard{*state};
            kombu::net::run(state->connect(deadline));
        }
        connected.push_back(std::move(lease));
    }
    ResourcePool::warm_up(count, deadline, site);
}

LeasedChannel ConnectionPool::acquire_channel(const AcquireOptions& options) {
    const Deadline deadline = Deadline::after(options.timeout);
    Lease<Connection> lease = acquire(options);
    ConnectionState* const state = state_of(*lease);
    if (!state) throw LeaseError("the connection was moved from");
    const ConnectionState::OperationGuard guard{*state};
    auto channel = kombu::net::run(state->default_channel(std::min(deadline, state->deadline({}))));
    kombu::detail::ConnectionRef connection{kombu::detail::ClientAccess::state(*lease)};
    return {std::move(lease), kombu::detail::ClientAccess::channel({std::move(connection), std::move(channel)})};
}

std::string ConnectionPool::last_connect_error() const { return broker_->last_error(); }

ConnectionPool::ConnectionPool(std::shared_ptr<const Connection> connection, const PoolOptions& options)
    : ConnectionPool(std::move(connection),
                     std::make_shared<kombu::detail::BrokerStatus>(options.name, options.observer), options) {}

ConnectionPool::ConnectionPool(std::shared_ptr<const Connection> connection,
                               std::shared_ptr<kombu::detail::BrokerStatus> broker, PoolOptions options)
    : ResourcePool(std::make_shared<const ConnectionHooks>(connection, broker), std::move(options)),
      connection_(std::move(connection)),
      broker_(std::move(broker)) {}

ProducerPool::ProducerPool(ConnectionPool& connections, PoolOptions options)
    : ProducerPool(Source{[&connections] {
                       return std::shared_ptr<ConnectionPool>{std::shared_ptr<void>{}, &connections};
                   }},
                   std::move(options)) {}

ProducerPool::ProducerPool(Source connections, PoolOptions options)
    : ProducerPool(std::make_shared<const Source>(std::move(connections)), std::move(options)) {}

ProducerPool::ProducerPool(std::shared_ptr<const Source> source, PoolOptions options)
    : ProducerPool(source, (*source)()->connection(), std::move(options)) {}

ProducerPool::ProducerPool(const std::shared_ptr<const Source>& source, const Connection& connection,
                           PoolOptions options)
    : ResourcePool(std::make_shared<const ProducerHooks>(source),
                   with_pool_name(std::move(options), connection, "producers")),
      source_(source),
      key_(connection.clone().as_uri()) {}

PoolStats ProducerPool::stats() const {
    PoolStats stats = ResourcePool::stats();
    stats.key = key_;
    return stats;
}

void ProducerPool::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    connections().warm_up(count, deadline, site);
    ResourcePool::warm_up(count, deadline, site);
}

Connections::Connections(ConnectionsOptions options)
    : PoolGroup([](const Connection& connection,
                   const PoolOptions& pool) { return std::make_unique<ConnectionPool>(connection, pool); },
                options.limit, &kombu::detail::global_registry(), options.with_limit(std::size_t{0})) {}

Producers::Producers(ProducersOptions options)
    : PoolGroup(
          [group = options.connections ? options.connections : &kombu::detail::global_connections()](
              const Connection& connection, const PoolOptions& pool) {
              // Looked up at each use, so that the pool of an erased key is not kept alive.
              auto key = std::make_shared<const Connection>(connection);
              ProducerPool::Source source = [group, key] { return group->share(*key); };
              return std::make_unique<ProducerPool>(std::move(source), pool);
          },
          options.limit, &kombu::detail::global_registry(), options.with_limit(std::size_t{0})) {}

namespace {

constexpr std::chrono::seconds close_timeout{1};

/// Closes idle connections with the closing handshake. Leased ones stay open: other threads may still be running.
void close_idle_connections() noexcept try {
    const Deadline deadline = Deadline::after(close_timeout);
    kombu::detail::global_connections().for_each([&](const Connection&, ConnectionPool& pool) {
        std::vector<Lease<Connection>> idle;
        while (Lease<Connection> lease = pool.acquire_idle()) idle.push_back(std::move(lease));
        for (Lease<Connection>& lease : idle) {
            if (ConnectionState* const state = state_of(*lease)) state->release(deadline);
            lease.discard();
        }
    });
} catch (...) {
}

}  // namespace

std::size_t get_limit() { return kombu::detail::global_registry().limit(); }

std::size_t set_limit(std::size_t limit, const SetLimitOptions& options) {
    kombu::detail::global_registry().set_limit(
        limit, {.force = options.force, .ignore_errors = options.ignore_errors, .reset = options.reset_after});
    return limit;
}

void reset() noexcept { kombu::detail::global_registry().reset(); }

std::size_t close_and_wait(OptionalTimeout timeout) { return kombu::detail::global_registry().close_and_wait(timeout); }

std::vector<PoolStats> stats() { return kombu::detail::global_registry().stats(); }

}  // namespace kombu::pools

kombu::pools::ConnectionPool kombu::Connection::pool(std::size_t limit) const {
    return pools::ConnectionPool{*this, {.limit = limit}};
}

namespace kombu::detail {

GroupRegistry& global_registry() {
    static auto* const registry = new GroupRegistry{pools::default_limit};
    return *registry;
}

pools::Connections& global_connections() {
    static auto* const group = [] {
        auto* const made = &pools::register_group(*new pools::Connections);
        std::atexit(pools::close_idle_connections);
        return made;
    }();
    return *group;
}

pools::Producers& global_producers() {
    static auto* const group = &pools::register_group(*new pools::Producers);
    return *group;
}

}  // namespace kombu::detail

template class kombu::ResourcePool<kombu::Connection>;
template class kombu::ResourcePool<kombu::Producer>;
template class kombu::PoolGroup<kombu::Connection, kombu::pools::ConnectionPool>;
template class kombu::PoolGroup<kombu::Connection, kombu::pools::ProducerPool>;
