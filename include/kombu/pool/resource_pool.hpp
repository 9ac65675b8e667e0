// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/operation.hpp>
#include <kombu/pool/detail/pool_state.hpp>
#include <kombu/pool/factory.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace kombu {

/// Resources that are costly to make, lent out one user at a time.
///
/// At most `limit` exist at once, at every instant, also while some are being created and whatever fails. (What reset()
/// and a smaller limit drag away no longer counts, and is closed outside the lock right after.) Slots are lazy: nothing
/// is made before it is wanted. A thread is lent what it gave back last, else what sits in the lowest slot, so that few
/// are used and the rest can age. Callers who must wait queue first come, first served; a newcomer may be quicker than
/// they, but once the first in the queue has waited for 0.5 ms the next free resource is its own.
///
/// Threads: every member may be called from any thread at any time, except the destructor; calls that wait in acquire()
/// when it runs end with PoolClosed. The factory's functions run on the threads that call acquire() and give leases
/// back, and on the maintenance thread, never under the pool's lock.
///
/// Fork: in a child the pool is empty and works; a lease that the child inherited gives nothing back. The parent's
/// resources are neither used nor closed nor destroyed there (see kombu/fork.hpp).
///
/// The age of a lease in reports is exact for pools whose factory has `validate`, `prepare` or `recycle`, or that have
/// a leak_threshold, idle_timeout, keepalive or observer. In others the clock is not read on each acquire, and the age
/// may be a lower bound ("over 1.0 s").
template <class T>
class ResourcePool {
public:
    /// Throws ConfigurationError when the factory has no `create`.
    explicit ResourcePool(ResourceFactory<T> factory, PoolOptions options = {})
        : state_(new State(checked(std::move(factory)), std::move(options))) {}
    ResourcePool(const ResourcePool&) = delete;
    ResourcePool& operator=(const ResourcePool&) = delete;

    /// Closes the pool. Leases may live on.
    ~ResourcePool() { state_.load(std::memory_order_acquire)->abandon(); }

    /// Lends a resource.
    ///
    /// Throws LimitExceeded when nothing is free and the call may not block, its timeout passed, or too many wait
    /// already; PoolClosed when the pool is closed, also while waiting; and whatever the factory throws. `timeout`
    /// bounds the whole call: the factory gets the same deadline.
    Lease<T> acquire(const AcquireOptions& options = {}) {
        State& known = *state_.load(std::memory_order_acquire);
        if (detail::SlotCell* const cell = known.take()) [[likely]]
            return known.lend(cell, options, options.site);
        return state().acquire_slowly(nullptr, options, options.site);
    }

    /// What acquire() does, without ever blocking, for drivers. It waits when nothing is free, whether `block` is set
    /// or not, in the same queue as threads; dropped before its end, it leaves nothing behind. Started before the pool
    /// is destroyed, it may end after.
    Operation<Lease<T>> acquire_operation(AcquireOptions options = {}) { return state().acquire_operation(options); }

    /// Lends what is idle and needs no preparation; an empty lease otherwise. Never waits for anything.
    Lease<T> acquire_now(const std::source_location& site = std::source_location::current()) {
        return state().acquire_now(site);
    }

    /// acquire_operation(), by kombu/asio.hpp. Completes with (error, Lease).
    template <class Token>
    auto async_acquire(const AcquireOptions& options, Token&& token);
    template <class Token>
    auto async_acquire(Token&& token);

    /// Lends what is free or can be made now; an empty lease when the pool is full. Otherwise as acquire().
    Lease<T> try_acquire(const std::source_location& site = std::source_location::current()) {
        return state().try_acquire(site);
    }

    /// Lends an idle resource, without validating or preparing it and without making one; an empty lease when nothing
    /// is idle. For looking after what is not in use.
    Lease<T> take_idle(const std::source_location& site = std::source_location::current()) {
        State& known = *state_.load(std::memory_order_acquire);
        return known.is_of_this_process() ? known.take_idle(site) : Lease<T>{};
    }

    /// Has `count` resources made, within the limit, and returns when there are that many: for a service that would
    /// rather fail when it starts than with its first request. Throws what the factory throws, such as the error of
    /// connecting, and Timeout when the deadline passes first.
    void warm_up(std::size_t count, Deadline deadline,
                 const std::source_location& site = std::source_location::current()) {
        state().warm_up(count, deadline, site);
    }
    void warm_up(std::size_t count, OptionalTimeout timeout = {},
                 const std::source_location& site = std::source_location::current()) {
        state().warm_up(count, Deadline::after(timeout), site);
    }

    /// Changes the limit at run time. Growing wakes waiters. Shrinking closes surplus idle resources, the longest idle
    /// first, and while anything is in use it throws PoolInUse and changes nothing, unless the options say otherwise.
    /// 0 lifts the limit and is always allowed.
    void resize(std::size_t limit, const ResizeOptions& options = {}) {
        const auto step = begin_resize(limit, options);
        step->lock();
        step->check();
        step->apply();
        step->unlock();
        step->finish();
    }

    /// Closes everything: what is idle now; what is leased is interrupted now, no longer counted, and closed when its
    /// lease ends. The pool works on, empty.
    void reset() noexcept { state().reset(false); }

    /// As reset(), and the pool stays closed: acquire throws PoolClosed and whoever waits is woken with it.
    void force_close_all() noexcept { state().reset(true); }

    /// Ends the pool gently: no more acquires, waiters are woken with PoolClosed, what is idle is closed, what is
    /// leased stays usable and is closed when its lease ends.
    void close() noexcept { state().close(); }

    /// One pass of maintenance, on the caller's thread: closes what is too old or idle too long, keeps alive, preloads,
    /// reports leaks, as the options ask. For programs that set maintain_in_background to false; harmless otherwise.
    /// `now` is for tests.
    void maintain(Clock::time_point now = Clock::now()) { state().maintain(now); }

    std::size_t limit() const { return stats().limit; }
    std::size_t in_use() const { return stats().in_use; }
    /// Takes the pool's lock for a moment, which only callers who wait or create take too.
    PoolStats stats() const { return state().stats(); }
    const std::string& name() const noexcept { return state_.load(std::memory_order_acquire)->name(); }

    /// For groups, which resize many pools at once or none.
    std::unique_ptr<detail::ResizeStep> begin_resize(std::size_t limit, const ResizeOptions& options) {
        return state().begin_resize(limit, options);
    }

private:
    using State = detail::PoolState<T>;

    static ResourceFactory<T> checked(ResourceFactory<T> factory) {
        if (!factory.create) throw ConfigurationError("ResourceFactory::create is not set");
        return factory;
    }

    State& state() const {
        State* const state = state_.load(std::memory_order_acquire);
        if (state->is_of_this_process()) [[likely]]
            return *state;
        return state_in_child(state);
    }

    __attribute__((noinline)) State& state_in_child(State* parents) const {
        auto* const fresh = new State(*parents);
        if (state_.compare_exchange_strong(parents, fresh, std::memory_order_acq_rel)) return *fresh;
        fresh->abandon();
        return *parents;
    }

    mutable std::atomic<State*> state_;
};

}  // namespace kombu
