// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/detail/resource_hooks.hpp>
#include <kombu/pool/factory.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/observer.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace kombu {

/// Lends resources that are costly to create, each to one user at a time.
///
/// At most `limit` resources exist at any instant, also while some are being created and whatever fails. (Resources
/// that reset() or a smaller limit takes from their users no longer count; they are closed right after, without the
/// lock.) A resource is created when it is first needed. A thread gets the resource that it released last, otherwise
/// the one in the lowest slot, so that few resources are in use and the others can expire. Callers that must wait are
/// queued in the order of their arrival. Newcomers may overtake them; but a caller that has waited for 0.5 ms as the
/// first of the queue gets the next free resource.
///
/// The age of a lease in reports is exact when the factory has `validate`, `prepare` or `recycle`, or the options have
/// a leak_threshold, idle_timeout, keepalive or observer. Otherwise the clock is not read on each acquire, and the age
/// may be a lower bound ("over 1.0 s").
///
/// \par Thread safety
/// Every member may be called from any thread at any time, except the destructor. Calls that wait in acquire() when the
/// pool is destroyed end with PoolClosed.
/// \par Lifetime
/// Leases may outlive the pool.
/// \par Fork
/// In a child the pool is empty and works. The parent's resources are neither used nor closed nor destroyed there (see
/// kombu/fork.hpp).
/// \par Kombu
/// `kombu.resource.Resource`
template <class T>
class ResourcePool {
public:
    /// \throws ConfigurationError  when the factory has no `create`
    explicit ResourcePool(ResourceFactory<T> factory, PoolOptions options = {})
        : ResourcePool(std::make_shared<const detail::FactoryHooks<T>>(std::move(factory)), std::move(options)) {}
    ResourcePool(const ResourcePool&) = delete;
    ResourcePool& operator=(const ResourcePool&) = delete;

    /// Closes the pool. Leases remain valid.
    ~ResourcePool() { engine_.load(std::memory_order_acquire)->release_pool(); }

    /// Lends a resource.
    /// \param options  `block`: wait when nothing is free; `timeout`: bounds the whole call, creating and preparing
    ///   included
    /// \throws LimitExceeded  when nothing is free and the call may not block, its timeout passed, or max_waiters wait
    /// \throws PoolClosed  when the pool is closed, also while the call waits; and whatever the factory throws
    Lease<T> acquire(const AcquireOptions& options = {}) {
        detail::PoolEngine& current = *engine_.load(std::memory_order_acquire);
        if (detail::SlotCell* const cell = current.try_acquire_slot()) [[likely]]
            return {current, *current.complete_acquire(cell, options, options.site)};
        detail::PoolEngine& engine = this->engine();
        return {engine, *engine.acquire_slow_path(nullptr, options, options.site)};
    }

    /// Asynchronous acquire(), by kombu/asio.hpp. It waits when nothing is free, whether `block` is set or not, in the
    /// same queue as threads. Completes with (error, Lease).
    template <class Token>
    auto async_acquire(const AcquireOptions& options, Token&& token);
    /// As above, with default options.
    template <class Token>
    auto async_acquire(Token&& token);

    /// Lends a resource that is free or can be created now.
    /// \return an empty lease when the pool is at its limit
    /// \throws PoolClosed  when the pool is closed; and whatever the factory throws
    Lease<T> try_acquire(const std::source_location& site = std::source_location::current()) try {
        return acquire({.site = site});
    } catch (const LimitExceeded&) {
        return {};
    }

    /// Lends an idle resource without validating or preparing it, for work on resources that are not in use.
    /// \return an empty lease when nothing is idle; no resource is created
    Lease<T> acquire_idle(const std::source_location& site = std::source_location::current()) {
        detail::PoolEngine& current = *engine_.load(std::memory_order_acquire);
        detail::SlotCell* const cell = current.is_of_this_process() ? current.acquire_idle(site) : nullptr;
        return cell ? Lease<T>{current, *cell} : Lease<T>{};
    }

    /// Creates resources on the calling thread until `count` exist, within the limit: a service then fails at its start
    /// rather than with its first request.
    /// \throws Timeout  when the deadline passes first; and whatever the factory throws
    void warm_up(std::size_t count, Deadline deadline,
                 const std::source_location& site = std::source_location::current()) {
        engine().warm_up(count, deadline, site);
    }
    /// As above, with a timeout.
    void warm_up(std::size_t count, OptionalTimeout timeout = {},
                 const std::source_location& site = std::source_location::current()) {
        engine().warm_up(count, Deadline::after(timeout), site);
    }

    /// Changes the limit. A larger one wakes waiters. A smaller one closes surplus idle resources, the longest idle
    /// first.
    /// \param limit  0 means unlimited, and is always allowed
    /// \param options  what may happen to resources in use
    /// \throws PoolInUse  when the limit shrinks while resources are in use and the options do not allow it; nothing
    ///   has changed then
    void resize(std::size_t limit, const ResizeOptions& options = {}) {
        const auto participant = engine().make_resize_participant(limit, options);
        participant->lock();
        participant->check();
        participant->apply();
        participant->unlock();
        participant->close_removed();
    }

    /// Closes all resources: idle ones now; leased ones are interrupted now, no longer counted, and closed when their
    /// lease ends. The pool is empty afterwards and works, also when it was closed before.
    void reset() noexcept { engine().reset(false); }

    /// As reset(), and the pool is closed until the next reset(): acquire throws PoolClosed, also in calls that wait.
    void force_close_all() noexcept { engine().reset(true); }

    /// Closes the pool gently, until a reset(): acquire throws PoolClosed, also in calls that wait; idle resources are
    /// closed now, leased ones stay usable and are closed when their lease ends.
    void close() noexcept { engine().close(); }

    /// As close(), and waits until every lease is back: for a shutdown that lets the work in progress end. A reset(),
    /// which opens the pool again, ends the wait.
    /// \param timeout  not set: as long as it takes
    /// \return the number of leases that are not back; 0 when all are
    std::size_t close_and_wait(OptionalTimeout timeout = {}) {
        detail::PoolEngine& current = engine();
        current.close();
        return current.wait_for_leases(Deadline::after(timeout));
    }

    /// Closes the idle resources for which `predicate` returns true. Each is leased while the predicate looks at it;
    /// no lock is held.
    /// \return the number of resources that were closed
    template <class Predicate>
    std::size_t evict_if(Predicate predicate) {
        return engine().evict_if([&](void* resource) { return bool{predicate(*static_cast<T*>(resource))}; });
    }

    /// Runs one pass of maintenance on the calling thread: expires, keeps alive, preloads and reports leaks, as the
    /// options say. For programs that set maintain_in_background to false; harmless otherwise.
    /// \param now  for tests
    void maintain(Clock::time_point now = Clock::now()) { engine().maintain(now); }

    /// The limit; 0: none.
    std::size_t limit() const { return stats().limit; }
    /// The number of leases that are out.
    std::size_t in_use() const { return stats().in_use; }
    /// A snapshot of the pool. Takes the pool's lock for a moment, which otherwise only callers that wait or create
    /// take.
    PoolStats stats() const { return engine().stats(); }
    /// The name of its options.
    const std::string& name() const noexcept { return engine_.load(std::memory_order_acquire)->name(); }

protected:
    /// For the library's own pools.
    ResourcePool(std::shared_ptr<const detail::FactoryHooks<T>> hooks, PoolOptions options)
        : engine_(new detail::PoolEngine(std::move(hooks), std::move(options))) {}

private:
    friend struct detail::PoolAccess;

    detail::PoolEngine& engine() const {
        detail::PoolEngine* const current = engine_.load(std::memory_order_acquire);
        if (current->is_of_this_process()) [[likely]]
            return *current;
        return make_engine_for_child(current);
    }

    KOMBU_NOINLINE detail::PoolEngine& make_engine_for_child(detail::PoolEngine* inherited) const {
        detail::PoolEngine* const made = inherited->make_for_child();
        if (engine_.compare_exchange_strong(inherited, made, std::memory_order_acq_rel)) return *made;
        made->release_pool();
        return *inherited;
    }

    mutable std::atomic<detail::PoolEngine*> engine_;
};

}  // namespace kombu

#ifndef KOMBU_POOL_COMPILED
#include <kombu/pool/detail/implementation.hpp>
#endif
