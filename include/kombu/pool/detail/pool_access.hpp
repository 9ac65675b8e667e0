// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/detail/resource_hooks.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/resource_pool.hpp>

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
};

}  // namespace kombu::detail
