// SPDX-License-Identifier: BSD-3-Clause
#include "pools/pooled_producer.hpp"

#include <kombu/detail/process.hpp>
#include <kombu/pool/detail/pool_access.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"

#include <utility>

namespace kombu::pools {

using kombu::detail::ClientAccess;
using kombu::detail::ConnectionState;
using kombu::detail::PoolAccess;

void PooledProducer::begin_lease(Lease<Connection> connection) {
    last_lease_ = PoolAccess::remember(connection);
    hold(std::move(connection));
}

bool PooledProducer::try_begin_lease(const std::source_location& site, std::int64_t now) noexcept {
    Lease<Connection> connection = PoolAccess::try_acquire_again<Connection>(last_lease_, site, now);
    if (!connection) return false;
    hold(std::move(connection));
    return true;
}

void PooledProducer::hold(Lease<Connection> connection) {
    revive(*connection);
    lease_ = std::move(connection);
    kombu::detail::store_before_loads(held_, ClientAccess::state(*lease_).get());
}

void PooledProducer::end_lease(bool discard) noexcept {
    ConnectionState* const held = held_.load(std::memory_order_relaxed);
    kombu::detail::store_before_loads(held_, static_cast<ConnectionState*>(nullptr));
    if (interrupting_.load(std::memory_order_seq_cst)) const std::lock_guard until_it_has_ended{mutex_};
    ClientAccess::reset(*this, discard ? nullptr : held);
    discard ? lease_.discard() : lease_.release();
}

void PooledProducer::interrupt() noexcept {
    const std::lock_guard lock{mutex_};
    interrupting_.exchange(true, std::memory_order_seq_cst);
    kombu::detail::heavy_fence();
    if (ConnectionState* const held = held_.load(std::memory_order_seq_cst)) held->interrupt();
    interrupting_.store(false, std::memory_order_release);
}

}  // namespace kombu::pools
