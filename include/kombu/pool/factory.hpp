// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string>

namespace kombu {

namespace async {
template <class T>
class PrepareHook;
}

/// The acquire that a resource is created or prepared for. Converts to its deadline, for functions that need no more.
struct Acquisition {
    /// When the caller gives up.
    Deadline deadline = Deadline::never();
    /// Whether the caller is willing to wait, for resources that are acquired from other pools.
    bool block = true;
    /// No caller waits for the resource (preload, warm_up): it should be made ready, connected for instance.
    bool preloading = false;
    /// Where the user of the pool called acquire.
    std::source_location site{};
    /// The caller runs on an executor and must not be blocked.
    bool asynchronous = false;

    /// For functions that need the deadline only.
    operator Deadline() const noexcept { return deadline; }
};

/// The functions that make the resources of a pool and manage them. Only `create` is required.
///
/// \par Thread safety
/// They are called on the threads that acquire and release, and on the maintenance thread, several at once for
/// different resources. The pool's lock is never held. `create` and `prepare` may take time, within the deadline of the
/// call.
template <class T>
struct ResourceFactory {
    /// Creates a resource. When it throws, the slot is free again and the caller of acquire gets the exception.
    std::function<std::shared_ptr<T>(const Acquisition&)> create{};

    /// Called on each acquire, for new and used resources alike: makes the resource ready. False: it is dead and must
    /// be replaced. An exception leaves a used resource in the pool and reaches the caller. Kombu: `prepare`.
    std::function<bool(T&, const Acquisition&)> prepare{};

    /// Called by asynchronous acquires instead of `prepare`: made by async::prepare_with() (kombu/pool/async.hpp).
    std::shared_ptr<const async::PrepareHook<T>> async_prepare{};

    /// Called on each acquire of a used resource, before `prepare`: returns whether it is still usable. Must not
    /// perform a network round trip. False, or an exception, has the resource replaced. See
    /// PoolOptions::validate_after.
    std::function<bool(T&)> validate{};

    /// Called by maintenance for resources that were idle for PoolOptions::keepalive. It may talk to the peer, within
    /// the deadline. False, or an exception, has the resource closed.
    std::function<bool(T&, Deadline)> keepalive{};

    /// Called when a lease ends; `unwinding` when an exception ended it. True keeps the resource. Must not block.
    /// Without it a resource is kept unless an exception is unwinding.
    std::function<bool(T&, bool unwinding)> recycle{};

    /// Ends a resource that the pool will not use again. Must not block on a peer.
    std::function<void(T&)> close{};

    /// Called from another thread while the resource is leased, by reset() and force_close_all(): the calls that its
    /// user is waiting in should end with an error now. Must not block.
    std::function<void(T&)> interrupt{};

    /// The last failure of a resource, for the error of a full pool, when neither create nor prepare knows it.
    std::function<std::string()> last_error{};

    /// What errors call a resource. Must outlive the pool.
    const char* resource_name = "resource";

    /// Makes the exception that acquire throws when nothing is free. Without it: LimitExceeded.
    std::function<std::exception_ptr(LimitReport)> limit_error{};
};

}  // namespace kombu
