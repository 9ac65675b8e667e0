// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/detail/resource_hooks.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/resource_pool.hpp>

#include <cstdint>
#include <source_location>

namespace kombu::detail {

/// The library's own access to pools and leases, for groups, global pools and asynchronous acquires.
struct PoolAccess {
    template <class T>
    static PoolEngine& engine(const ResourcePool<T>& pool) {
        return pool.engine();
    }
    template <class T>
    static const ResourceFactory<T>& factory(const ResourcePool<T>& pool) {
        return static_cast<const FactoryHooks<T>&>(pool.engine().hooks()).factory();
    }
    /// `cell`: leased by the caller, or null.
    template <class T>
    static Lease<T> lease(PoolEngine& engine, SlotCell* cell) noexcept {
        return cell ? Lease<T>{engine, *cell} : Lease<T>{};
    }
    /// An idle resource that needs no preparation; an empty lease otherwise. Never waits and never creates.
    template <class T>
    static Lease<T> try_acquire_idle(const ResourcePool<T>& pool, const std::source_location& site) {
        PoolEngine& engine = pool.engine();
        return lease<T>(engine, engine.try_acquire_idle(site));
    }
    /// For try_acquire_again(); nothing when the pool's leases cannot be acquired so.
    template <class T>
    static PoolEngine::PastLease remember(const Lease<T>& lease) noexcept {
        return lease.lease_.engine().remember(lease.lease_.cell());
    }
    /// The same resource, if it is idle and ready; an empty lease otherwise. `now`: of the coarse clock.
    template <class T>
    static Lease<T> try_acquire_again(const PoolEngine::PastLease& past, const std::source_location& site,
                                      std::int64_t now) {
        SlotCell* const cell = PoolEngine::try_acquire_again(past, site, now);
        return cell ? Lease<T>{*past.engine, *cell} : Lease<T>{};
    }
};

}  // namespace kombu::detail
