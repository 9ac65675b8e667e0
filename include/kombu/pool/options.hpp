// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/pool/observer.hpp>

#include <cstddef>
#include <memory>
#include <source_location>
#include <string>

namespace kombu {

/// How to wait for a resource. Kombu's defaults: do not wait at all; when told to block, wait without bound.
struct AcquireOptions {
    /// Wait when nothing is free. Without it a full pool throws at once.
    bool block = false;
    /// How long the call may take in all, creating and preparing the resource included. Unset: no bound.
    OptionalTimeout timeout{};
    /// Who holds the resource, for reports: where these options are written, which is where acquire() is called.
    std::source_location site = std::source_location::current();
};

/// What a pool does beyond lending. Everything has a default, and what is at its default costs nothing.
///
/// The times of idle_timeout, max_lifetime, keepalive and leak_threshold are kept by maintenance: never early, and late
/// by up to a quarter of the time or a second, whichever is less, and 10 ms. One thread looks after all pools of a
/// process, one after the other: a preload or keepalive that takes long delays the others by as much.
struct PoolOptions {
    /// How many resources may exist at once, in use, idle and being created. 0 means unlimited; an unlimited pool keeps
    /// nothing: each acquire creates, each release closes (as in Kombu).
    std::size_t limit = 0;

    /// Keep this many resources idle and ready (within the limit): made in the background when the pool begins, and
    /// again whenever fewer are idle. See also ResourcePool::warm_up().
    std::size_t preload = 0;

    /// A caller who would have to wait behind this many others gets LimitExceeded at once. 0: any number may wait.
    std::size_t max_waiters = 0;

    /// When this many are being created already, a blocking caller waits for what comes first, a new resource or one
    /// that comes back, instead of creating one more. It keeps a short spike from growing the pool to its limit. 0: any
    /// number. A caller who may not wait creates all the same.
    std::size_t max_connecting = 5;

    /// Close what was idle for this long, but for `preload` of them.
    OptionalTimeout idle_timeout{};

    /// Close what is older than this when it is next idle; never what is in use. Each resource lives up to a quarter
    /// less, by chance, so that not all of them are made anew at the same time.
    OptionalTimeout max_lifetime{};

    /// Ask the factory's `validate` only about what was idle for longer than this; counted in steps of some
    /// milliseconds. Unset: about everything, on each acquire.
    OptionalTimeout validate_after{};

    /// Call the factory's `keepalive` (without one, `validate`) on what was idle for this long, and again each time.
    OptionalTimeout keepalive{};

    /// Report a lease that lasts longer than this, once, with who acquired it: to the log as a warning, to the
    /// observer, and in the statistics.
    OptionalTimeout leak_threshold{};

    /// What errors, statistics and logs call the pool.
    std::string name{};

    /// Hears what the pool does. Every acquire and release then reads the clock.
    std::shared_ptr<PoolObserver> observer{};

    /// Whether the process's maintenance thread looks after the pool when an option above asks for it. Without, nothing
    /// of that happens but in ResourcePool::maintain().
    bool maintain_in_background = true;
};

/// What resize() may do to resources in use when the limit shrinks. By default it refuses (PoolInUse).
struct ResizeOptions {
    /// Shrink all the same: what is in use is dragged away from its users, as by reset().
    bool force = false;
    /// Shrink softly: what is in use above the new limit is closed when it comes back.
    bool ignore_errors = false;
    /// Drag everything away, whether the pool grows or shrinks.
    bool reset = false;
};

}  // namespace kombu
