// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/slot_table.hpp>
#include <kombu/pool/detail/unwinding.hpp>

#include <memory>
#include <utility>

namespace kombu {

namespace detail {
template <class T>
class PoolState;
}

/// The right to use one resource of a pool, given back exactly once: when the lease is destroyed, released, discarded
/// or assigned to.
///
/// Threads: a lease and what it points to belong to one thread at a time. Lifetime: a lease may outlive its pool and
/// the group of the pool; its resource is then closed when the lease ends. Exceptions: a lease that is destroyed while
/// an exception unwinds the stack tells the pool so; the pool's `recycle` decides whether the resource is still good
/// (without one it is thrown away). Giving back never blocks on the network and never throws.
template <class T>
class [[nodiscard]] Lease {
public:
    /// An empty lease.
    Lease() noexcept = default;
    Lease(Lease&& other) noexcept
        : state_(std::exchange(other.state_, nullptr)),
          cell_(other.cell_),
          resource_(std::exchange(other.resource_, nullptr)),
          exceptions_(other.exceptions_) {}
    Lease& operator=(Lease&& other) noexcept {
        if (this != &other) {
            release();
            state_ = std::exchange(other.state_, nullptr);
            cell_ = other.cell_;
            resource_ = std::exchange(other.resource_, nullptr);
            exceptions_ = other.exceptions_;
        }
        return *this;
    }
    ~Lease() {
        if (resource_) end(false, detail::uncaught_exceptions() > exceptions_);
    }

    /// Give the resource back; the lease is empty afterwards. Doing it twice does nothing.
    void release() noexcept { end(false, false); }

    /// Throw the resource away and free its slot (Kombu's `replace`); the lease is empty afterwards.
    void discard() noexcept { end(true, false); }

    /// Takes the resource out of the pool for good: it is the caller's, the pool does not close it, its slot is free
    /// and the lease is empty afterwards. Null when the lease is empty, or was inherited by a forked child.
    std::shared_ptr<T> detach() noexcept {
        return std::exchange(resource_, nullptr) ? std::exchange(state_, nullptr)->detach(*cell_) : nullptr;
    }

    explicit operator bool() const noexcept { return resource_ != nullptr; }

    /// The resource, or null when the lease is empty.
    T* get() const noexcept { return resource_; }

    /// Throws LeaseError when the lease is empty.
    T& operator*() const { return checked(); }
    /// Throws LeaseError when the lease is empty.
    T* operator->() const { return &checked(); }

private:
    friend class detail::PoolState<T>;
    Lease(detail::PoolState<T>* state, detail::SlotCell* cell, T* resource) noexcept
        : state_(state), cell_(cell), resource_(resource), exceptions_(detail::uncaught_exceptions()) {}

    T& checked() const {
        if (!resource_) throw LeaseError("the lease is empty: it was released, discarded or moved from");
        return *resource_;
    }

    void end(bool discard, bool unwinding) noexcept {
        if (std::exchange(resource_, nullptr)) std::exchange(state_, nullptr)->give_back(*cell_, discard, unwinding);
    }

    detail::PoolState<T>* state_ = nullptr;
    detail::SlotCell* cell_ = nullptr;
    T* resource_ = nullptr;
    int exceptions_ = 0;
};

}  // namespace kombu
