// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/detail/thread_cache.hpp>

#include <memory>
#include <utility>

namespace kombu::async {
template <class T>
class Operation;
}

namespace kombu {

template <class T>
class ResourcePool;
template <class T>
class Lease;
namespace detail {
struct PoolAccess;
template <class T>
struct KeptResult;

/// A lease without the type of its resource.
class AnyLease {
public:
    AnyLease() noexcept = default;
    template <class T>
    AnyLease(Lease<T>&& lease) noexcept : AnyLease(std::move(lease.lease_)) {}
    /// `cell`: leased by the caller.
    AnyLease(PoolEngine& engine, SlotCell& cell) noexcept
        : engine_(&engine),
          cell_(&cell),
          resource_(cell.resource.load(std::memory_order_relaxed)),
          exceptions_(uncaught_exceptions()) {}
    AnyLease(AnyLease&& other) noexcept
        : engine_(std::exchange(other.engine_, nullptr)),
          cell_(other.cell_),
          resource_(std::exchange(other.resource_, nullptr)),
          exceptions_(other.exceptions_) {}
    AnyLease& operator=(AnyLease&& other) noexcept {
        if (this != &other) {
            end(false, false);
            engine_ = std::exchange(other.engine_, nullptr);
            cell_ = other.cell_;
            resource_ = std::exchange(other.resource_, nullptr);
            exceptions_ = other.exceptions_;
        }
        return *this;
    }
    ~AnyLease() {
        if (resource_) end(false, uncaught_exceptions() > exceptions_);
    }

    void end(bool discard, bool unwinding) noexcept {
        if (std::exchange(resource_, nullptr)) std::exchange(engine_, nullptr)->release(*cell_, discard, unwinding);
    }
    std::shared_ptr<void> detach() noexcept {
        if (!std::exchange(resource_, nullptr)) return nullptr;
        return std::exchange(engine_, nullptr)->detach(*cell_);
    }
    /// Null when the lease is empty.
    void* resource() const noexcept { return resource_; }
    // -- of a lease that is not empty
    PoolEngine& engine() const noexcept { return *engine_; }
    SlotCell& cell() const noexcept { return *cell_; }

private:
    PoolEngine* engine_ = nullptr;
    SlotCell* cell_ = nullptr;
    void* resource_ = nullptr;
    int exceptions_ = 0;
};

}  // namespace detail

/// The right to use one resource of a pool, released exactly once: when the lease is destroyed, released, discarded or
/// assigned to. A release never blocks on the network and never throws.
///
/// A lease that is destroyed while an exception unwinds the stack tells the pool so. The pool's `recycle` then decides
/// whether the resource is kept; without one it is closed.
///
/// \par Thread safety
/// A lease and its resource belong to one thread at a time.
/// \par Lifetime
/// A lease may outlive its pool and the group of the pool; its resource is then closed when the lease ends.
/// \par Fork
/// A lease that a forked child inherited releases nothing there.
/// \par Kombu
/// The return value of `Resource.acquire()`, whose `release()` must be called by hand.
template <class T>
class [[nodiscard]] Lease {
public:
    /// An empty lease.
    Lease() noexcept = default;
    /// Gives the resource back to the pool; the lease is empty afterwards. A second call has no effect.
    void release() noexcept { lease_.end(false, false); }

    /// Closes the resource and frees its slot; the lease is empty afterwards. Kombu: `Resource.replace`.
    void discard() noexcept { lease_.end(true, false); }

    /// Removes the resource from the pool, which does not close it. Its slot is free and the lease is empty afterwards.
    /// \return the resource; null when the lease is empty, or was inherited by a forked child
    std::shared_ptr<T> detach() noexcept { return std::static_pointer_cast<T>(lease_.detach()); }

    /// Whether it holds a resource.
    explicit operator bool() const noexcept { return lease_.resource() != nullptr; }

    /// The resource, or null when the lease is empty.
    T* get() const& noexcept { return static_cast<T*>(lease_.resource()); }
    /// The resource of a temporary lease would be used after it went back to the pool.
    T* get() const&& = delete;

    /// The resource.
    /// \throws LeaseError  when the lease is empty
    T& operator*() const& { return checked(); }
    /// As get() of a temporary lease.
    T& operator*() const&& = delete;
    /// The resource. Of a temporary lease, `pool.acquire()->call()` holds it until the call has returned.
    /// \throws LeaseError  when the lease is empty
    T* operator->() const { return &checked(); }

private:
    friend class ResourcePool<T>;
    friend struct detail::PoolAccess;
    friend class detail::AnyLease;
    template <class>
    friend class async::Operation;
    explicit Lease(detail::AnyLease&& lease) noexcept : lease_(std::move(lease)) {}
    Lease(detail::PoolEngine& engine, detail::SlotCell& cell) noexcept : lease_(engine, cell) {}

    T& checked() const {
        T* const resource = get();
        if (!resource) throw LeaseError("the lease is empty: it was released, discarded or moved from");
        return *resource;
    }

    detail::AnyLease lease_{};
};

// One coroutine acquires for pools of all types.
template <class T>
struct detail::KeptResult<Lease<T>> {
    using type = AnyLease;
};

}  // namespace kombu
