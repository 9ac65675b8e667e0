// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/operation.hpp>

#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace kombu {

/// The acquire that a resource is made or prepared for. Converts to its deadline, for functions that ask for no more.
struct Acquisition {
    Deadline deadline = Deadline::never();
    /// Whether the caller wants to wait, for resources that are themselves taken from pools.
    bool block = true;
    /// Nobody waits for it: it is made ahead of its use (preload, warm_up), so have it ready, connected and all.
    bool ahead = false;
    /// Where the pool's user called acquire.
    std::source_location site{};
    /// The caller is an executor: nothing may block it.
    bool asynchronous = false;

    operator Deadline() const noexcept { return deadline; }
};

/// What a pool knows about its resources. Only `create` is required.
///
/// The pool may outlive its handle: what is going on in other threads when it is destroyed (a create, a pass of
/// maintenance) goes on, and leases are given back after it. So the functions should own what they use, by shared_ptr
/// or by value.
///
/// The pool calls these from whatever thread acquires or gives back, never with its lock held, never twice at once for
/// one resource, except `interrupt`. They may block (within the deadline they are given) and may use the same pool
/// again.
template <class T>
struct ResourceFactory {
    /// Makes a resource. May throw; the slot is then free again. For asynchronous acquires it runs in
    /// the initiating function or on their executor.
    std::function<std::shared_ptr<T>(const Acquisition&)> create{};

    /// Called on each acquire, for new and used resources alike: makes the resource ready. False says that it is dead
    /// and must be replaced. A throw leaves a used resource in the pool and passes on to the caller (Kombu's
    /// `prepare`).
    std::function<bool(T&, const Acquisition&)> prepare{};

    /// What asynchronous acquires do instead of `prepare`. The arguments live until it is done.
    std::function<Operation<bool>(T&, const Acquisition&)> prepare_operation{};

    /// Called on each acquire of a used resource, before `prepare`, and after a longer idle time only when
    /// PoolOptions::validate_after says so: whether the resource lives still. It should look and not talk: no round
    /// trip. False, or a throw, has it replaced.
    std::function<bool(T&)> validate{};

    /// Called by maintenance on what has been idle for PoolOptions::keepalive. Within the deadline, it may talk to the
    /// peer. False, or a throw, has the resource closed.
    std::function<bool(T&, Deadline)> keepalive{};

    /// Called when a lease ends; `unwinding` when an exception ended it. True keeps the resource. Must not block.
    /// Without it a resource is kept unless an exception is unwinding.
    std::function<bool(T&, bool unwinding)> recycle{};

    /// Ends a resource that the pool will not use again. Must not block on a peer.
    std::function<void(T&)> close{};

    /// Called from another thread while the resource is leased: whatever its user waits for should end with an error
    /// now, because reset() or force_close_all() dragged it away. Must not block.
    std::function<void(T&)> interrupt{};

    /// What went wrong with a resource last, for the error of a full pool, when create and prepare do not know.
    std::function<std::string()> last_error{};

    /// What errors call a resource.
    const char* noun = "resource";

    /// Throws what the pool's users expect when nothing is free.
    void (*throw_limit_exceeded)(LimitReport) = [](LimitReport report) { throw LimitExceeded(std::move(report)); };

    /// recycle() with its default; a throw counts as "not to be kept".
    bool keeps(T& resource, bool unwinding) const noexcept try {
        return recycle ? recycle(resource, unwinding) : !unwinding;
    } catch (...) {
        return false;
    }

    /// validate() with its default; a throw counts as "dead".
    bool lives(T& resource) const noexcept try { return !validate || validate(resource); } catch (...) {
        return false;
    }

    bool kept_alive(T& resource, Deadline deadline) const noexcept try {
        return keepalive ? keepalive(resource, deadline) : lives(resource);
    } catch (...) {
        return false;
    }

    /// close() of which nothing escapes.
    void shut(T& resource) const noexcept try {
        if (close) close(resource);
    } catch (...) {
    }

    [[noreturn]] void limit_exceeded(LimitReport report) const {
        throw_limit_exceeded(report);
        throw LimitExceeded(std::move(report));
    }
};

}  // namespace kombu
