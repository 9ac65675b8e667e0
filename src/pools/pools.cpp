#include <kombu/pools.hpp>

#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"

#include <chrono>
#include <cstdlib>
#include <utility>

namespace kombu::pools {
namespace {

using kombu::detail::ConnectionState;

constexpr std::size_t default_limit = 200;

std::string pool_name(const Connection& connection, const char* kind, const std::string& given) {
    return (given.empty() ? kind : given) + "@" + connection.as_uri();
}

/// Null for a connection that its user moved away; such a one is of no more use.
ConnectionState* inside(const Connection& connection) noexcept { return connection.state().get(); }

void throw_connection_limit_exceeded(LimitReport report) { throw ConnectionLimitExceeded(std::move(report)); }

ResourceFactory<Connection> connection_factory(std::shared_ptr<const Connection> like,
                                               std::shared_ptr<kombu::detail::ConnectLog> connect_log) {
    ResourceFactory<Connection> factory;
    factory.create = [like, connect_log](const Acquisition& acquisition) {
        auto connection = std::make_shared<Connection>(*like);
        if (inside(*connection)) {
            inside(*connection)->report_to(connect_log);
            if (acquisition.ahead) kombu::net::run(inside(*connection)->connect(acquisition.deadline));
        }
        return connection;
    };
    factory.validate = [](Connection& connection) { return inside(connection) && inside(connection)->usable(); };
    // A holder may have assigned another connection to this one: that is not what the pool lends.
    factory.recycle = [like](Connection& connection, bool) {
        return inside(connection) && connection == *like && inside(connection)->recycle();
    };
    factory.close = [](Connection& connection) {
        if (inside(connection)) inside(connection)->retire();
    };
    factory.last_error = [connect_log] { return connect_log->last_error(); };
    factory.interrupt = [](Connection& connection) {
        if (inside(connection)) inside(connection)->interrupt();
    };
    factory.noun = "connection";
    factory.throw_limit_exceeded = throw_connection_limit_exceeded;
    return factory;
}

/// A producer and the connection it has while it is leased.
struct PooledProducer : Producer {
    Lease<Connection> connection{};
    std::mutex mutex{};  // interrupt() comes from other threads
    std::shared_ptr<ConnectionState> leased{};

    void take(Lease<Connection> lease) {
        revive(*lease);
        connection = std::move(lease);
        std::lock_guard lock{mutex};
        leased = connection->state();
    }

    void give_back(bool discard) noexcept {
        {
            std::lock_guard lock{mutex};
            leased.reset();
        }
        // Whatever its holder made of it, the next one gets a plain producer.
        static_cast<Producer&>(*this) = Producer{};
        discard ? connection.discard() : connection.release();
    }

    void interrupt() noexcept {
        // Under the lock, or the connection might belong to somebody else by then. It does not block.
        std::lock_guard lock{mutex};
        if (leased) leased->interrupt();
    }
};

PooledProducer& pooled(Producer& producer) { return static_cast<PooledProducer&>(producer); }

ResourceFactory<Producer> producer_factory(std::shared_ptr<const ProducerPool::Source> connections) {
    ResourceFactory<Producer> factory;
    factory.create = [](const Acquisition&) -> std::shared_ptr<Producer> { return std::make_shared<PooledProducer>(); };
    factory.prepare = [connections](Producer& producer, const Acquisition& acquisition) {
        // The options of the one acquire go for both: a caller who does not want to wait waits for neither.
        const Deadline deadline = acquisition.deadline;
        const std::shared_ptr<ConnectionPool> pool = (*connections)();
        pooled(producer).take(pool->acquire({.block = acquisition.block,
                                             .timeout = deadline.is_never() ? OptionalTimeout{} : deadline.remaining(),
                                             .site = acquisition.site}));
        return true;
    };
    factory.prepare_operation = [connections](Producer& producer, const Acquisition& acquisition) -> Operation<bool> {
        const Deadline deadline = acquisition.deadline;
        const std::shared_ptr<ConnectionPool> pool = (*connections)();
        Lease<Connection> lease = pool->acquire_now(acquisition.site);
        if (!lease)
            lease = co_await pool->acquire_operation(
                {.timeout = deadline.is_never() ? OptionalTimeout{} : deadline.remaining(), .site = acquisition.site});
        pooled(producer).take(std::move(lease));
        co_return true;
    };
    factory.recycle = [](Producer& producer, bool) {
        pooled(producer).give_back(false);
        return true;
    };
    factory.close = [](Producer& producer) { pooled(producer).give_back(true); };
    factory.interrupt = [](Producer& producer) { pooled(producer).interrupt(); };
    factory.last_error = [connections] { return (*connections)()->last_connect_error(); };
    factory.noun = "producer";
    return factory;
}

/// What the options of a group say of its pools.
template <class GroupOptions>
PoolOptions of_each_pool(const GroupOptions& group) {
    return {.preload = group.preload,
            .max_waiters = group.max_waiters,
            .max_connecting = group.max_connecting,
            .idle_timeout = group.idle_timeout,
            .max_lifetime = group.max_lifetime,
            .validate_after = group.validate_after,
            .keepalive = group.keepalive,
            .leak_threshold = group.leak_threshold,
            .name = group.name,
            .observer = group.observer,
            .maintain_in_background = group.maintain_in_background};
}

PoolOptions named(PoolOptions options, const Connection& connection, const char* kind) {
    options.name = pool_name(connection, kind, options.name);
    return options;
}

}  // namespace

ConnectionPool::ConnectionPool(const Connection& connection, PoolOptions options)
    : ConnectionPool(std::make_shared<const Connection>(connection), std::make_shared<kombu::detail::ConnectLog>(),
                     std::move(options)) {}

PoolStats ConnectionPool::stats() const {
    PoolStats stats = ResourcePool::stats();
    stats.connect = connect_log_->times();
    return stats;
}

std::string ConnectionPool::last_connect_error() const { return connect_log_->last_error(); }

ConnectionPool::ConnectionPool(std::shared_ptr<const Connection> connection, Log connect_log, PoolOptions options)
    : ResourcePool(connection_factory(connection, connect_log), named(std::move(options), *connection, "connections")),
      connection_(std::move(connection)),
      connect_log_(std::move(connect_log)) {}

ProducerPool::ProducerPool(ConnectionPool& connections, PoolOptions options)
    : ProducerPool(Source{[&connections] {
                       return std::shared_ptr<ConnectionPool>{std::shared_ptr<void>{}, &connections};
                   }},
                   std::move(options)) {}

ProducerPool::ProducerPool(Source connections, PoolOptions options)
    : ProducerPool(std::make_shared<const Source>(std::move(connections)), std::move(options)) {}

ProducerPool::ProducerPool(std::shared_ptr<const Source> source, PoolOptions options)
    : ResourcePool(producer_factory(source), named(std::move(options), (*source)()->connection(), "producers")),
      source_(std::move(source)) {}

void ProducerPool::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    connections().warm_up(count, deadline, site);
    ResourcePool::warm_up(count, deadline, site);
}

Connections::Connections(ConnectionsOptions options)
    : PoolGroup([](const Connection& connection,
                   const PoolOptions& pool) { return std::make_unique<ConnectionPool>(connection, pool); },
                options.limit, &detail::global_registry(), of_each_pool(options)) {}

Producers::Producers(ProducersOptions options)
    : PoolGroup(
          [group = options.connections ? options.connections : &detail::global_connections()](
              const Connection& connection, const PoolOptions& pool) {
              // Looked up at each use: the pool of an erased key is not held on to.
              auto key = std::make_shared<const Connection>(connection);
              ProducerPool::Source source = [group, key] { return group->share(*key); };
              return std::make_unique<ProducerPool>(std::move(source), pool);
          },
          options.limit, &detail::global_registry(), of_each_pool(options)) {}

GroupRegistry& detail::global_registry() {
    static auto* const registry = new GroupRegistry{default_limit};
    return *registry;
}

namespace {

constexpr std::chrono::seconds farewell_time{1};

/// Says goodbye on what is idle, and leaves what somebody uses alone: other threads may still be running.
void close_idle_connections() noexcept try {
    const Deadline deadline = Deadline::after(farewell_time);
    detail::global_connections().for_each([&](const Connection&, ConnectionPool& pool) {
        std::vector<Lease<Connection>> idle;
        while (Lease<Connection> lease = pool.take_idle()) idle.push_back(std::move(lease));
        for (Lease<Connection>& lease : idle) {
            if (ConnectionState* const state = inside(*lease)) state->release(deadline);
            lease.discard();
        }
    });
} catch (...) {
}

}  // namespace

Connections& detail::global_connections() {
    static auto* const group = [] {
        auto* const made = &register_group(*new Connections);
        std::atexit(close_idle_connections);
        return made;
    }();
    return *group;
}

Producers& detail::global_producers() {
    static auto* const group = &register_group(*new Producers);
    return *group;
}

std::size_t get_limit() { return detail::global_registry().limit(); }

std::size_t set_limit(std::size_t limit, const SetLimitOptions& options) {
    detail::global_registry().set_limit(
        limit, {.force = options.force, .ignore_errors = options.ignore_errors, .reset = options.reset_after});
    return limit;
}

void reset() noexcept { detail::global_registry().reset(); }

std::vector<PoolStats> stats() { return detail::global_registry().stats(); }

}  // namespace kombu::pools
