// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_state.hpp>
#include <kombu/pool/factory.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace kombu {

/// Resources that are costly to make, lent out one user at a time.
///
/// At most `limit` exist at once, at every instant, also while some are being created and whatever fails. Slots are
/// lazy: nothing is made before it is wanted. The resource released last is lent first, so that few are used and the
/// rest can age. Callers who must wait queue first come, first served, and whatever frees capacity wakes the longest
/// waiting one.
///
/// Threads: every member may be called from any thread at any time, except the destructor. The factory's functions run
/// on the threads that call acquire() and give leases back, and never under the pool's lock. Fork: not handled here
/// yet; do not use a pool in a child that was made by a plain fork().
template <class T>
class ResourcePool {
public:
    /// Throws ConfigurationError when the factory has no `create`.
    explicit ResourcePool(ResourceFactory<T> factory, PoolOptions options = {})
        : state_(new detail::PoolState<T>(checked(std::move(factory)), std::move(options))) {}
    ResourcePool(const ResourcePool&) = delete;
    ResourcePool& operator=(const ResourcePool&) = delete;

    /// Closes the pool. Leases may live on.
    ~ResourcePool() { state_->abandon(); }

    /// Lends a resource.
    ///
    /// Throws LimitExceeded when nothing is free and the call may not block, or its timeout passed; PoolClosed when the
    /// pool is closed, also while waiting; and whatever the factory throws. `timeout` bounds the whole call: the
    /// factory gets the same deadline.
    Lease<T> acquire(const AcquireOptions& options = {}) { return state_->acquire(options); }

    /// Changes the limit at run time. Growing wakes waiters. Shrinking closes surplus idle resources, the longest idle
    /// first, and while anything is in use it throws PoolInUse and changes nothing, unless the options say otherwise.
    /// 0 lifts the limit and is always allowed.
    void resize(std::size_t limit, const ResizeOptions& options = {}) {
        const auto step = begin_resize(limit, options);
        step->check();
        step->apply();
        step->unlock();
        step->finish();
    }

    /// Closes everything: what is idle now; what is leased is interrupted now, no longer counted, and closed when its
    /// lease ends. The pool works on, empty.
    void reset() noexcept { state_->reset(false); }

    /// As reset(), and the pool stays closed: acquire throws PoolClosed and whoever waits is woken with it.
    void force_close_all() noexcept { state_->reset(true); }

    /// Ends the pool gently: no more acquires, waiters are woken with PoolClosed, what is idle is closed, what is
    /// leased stays usable and is closed when its lease ends.
    void close() noexcept { state_->close(); }

    std::size_t limit() const { return stats().limit; }
    std::size_t in_use() const { return stats().in_use; }
    PoolStats stats() const { return state_->stats(); }
    const std::string& name() const noexcept { return state_->name(); }

    /// For groups, which resize many pools at once or none.
    std::unique_ptr<detail::ResizeStep> begin_resize(std::size_t limit, const ResizeOptions& options) {
        return state_->begin_resize(limit, options);
    }

private:
    static ResourceFactory<T> checked(ResourceFactory<T> factory) {
        if (!factory.create) throw ConfigurationError("ResourceFactory::create is not set");
        return factory;
    }

    detail::PoolState<T>* state_;
};

}  // namespace kombu
