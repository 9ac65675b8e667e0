// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <cstddef>
#include <memory>
#include <source_location>
#include <string>

namespace kombu {

class PoolObserver;

/// How to wait for a resource. The defaults are Kombu's: no wait at all; with `block`, a wait without bound.
struct AcquireOptions {
    /// Wait when nothing is free. Otherwise a full pool throws at once.
    bool block = false;
    /// Bounds the whole call, creating and preparing the resource included. Not set: no bound.
    OptionalTimeout timeout{};
    /// The holder of the resource in reports: the place of these options, which is that of the call of acquire().
    std::source_location site = std::source_location::current();
};

/// The second parameter of BasicPoolOptions for pools that draw on no others.
struct NoConnections {};

/// The options of pools. Everything has a default; an option at its default costs nothing. A template because a pool
/// has a limit of its own, a group may follow another one, and the producers of a group need connections: PoolOptions,
/// pools::ConnectionsOptions and pools::ProducersOptions are the same otherwise.
///
/// Maintenance keeps the times of idle_timeout, max_lifetime, keepalive and leak_threshold: never early, and late by at
/// most a quarter of the time or one second, whichever is less, plus 10 ms. One thread maintains all pools of a
/// process, one after the other: a slow preload or keepalive delays the other pools.
template <class Limit, class Connections = NoConnections>
struct BasicPoolOptions {
    /// The number of resources that may exist at once: in use, idle or being created. 0 means unlimited. An unlimited
    /// pool keeps nothing: each acquire creates, each release closes (as in Kombu).
    Limit limit{};

    /// Only of pools::ProducersOptions: the group that the connections of the producers come from. Null:
    /// `pools::connections`. It must outlive the group.
    [[no_unique_address]] Connections connections{};

    /// Resources that are kept idle and ready, within the limit. They are created in the background, at first and
    /// whenever fewer are idle. See also ResourcePool::warm_up().
    std::size_t preload = 0;

    /// A caller that would be queued behind this many waiters gets LimitExceeded at once. 0: no bound.
    std::size_t max_waiters = 0;

    /// While this many resources are being created, a caller that may block waits for the first free resource, new or
    /// released, instead of creating one more: a short spike does not fill the pool to its limit. 0: no bound. Callers
    /// that may not block create in any case.
    std::size_t max_connecting = 5;

    /// Resources that were idle for longer are closed, except `preload` of them.
    OptionalTimeout idle_timeout{};

    /// Older resources are closed when they are next idle, never while they are in use. The lifetime of each resource
    /// is shorter by a random part of up to a quarter, so that not all are replaced at the same time.
    OptionalTimeout max_lifetime{};

    /// The factory's `validate` is called only for resources that were idle for longer, to within 10 ms. Not set: on
    /// each acquire of a used resource.
    OptionalTimeout validate_after{};

    /// The factory's `keepalive` (without one, `validate`) is called for resources that were idle for this long, and
    /// again after the same time. Not for the last free resource of a pool that may create no more: a caller that may
    /// not wait would find nothing.
    OptionalTimeout keepalive{};

    /// A longer lease is reported once, with the place of its acquire: to the log as a warning, to the observer, and in
    /// the statistics.
    OptionalTimeout leak_threshold{};

    /// The name of the pool in errors, statistics and logs.
    std::string name{};

    /// Is told what the pool does. Every acquire and release then reads the clock.
    std::shared_ptr<PoolObserver> observer{};

    /// Whether the maintenance thread of the process serves the pool when an option above needs it. Otherwise only
    /// ResourcePool::maintain() does.
    bool maintain_in_background = true;

    /// The same options with another limit and without connections.
    template <class OtherLimit>
    BasicPoolOptions<OtherLimit> with_limit(OtherLimit other) const {
        return {
            other,          {},        preload,        max_waiters, max_connecting, idle_timeout,          max_lifetime,
            validate_after, keepalive, leak_threshold, name,        observer,       maintain_in_background};
    }
};

/// The options of one pool.
using PoolOptions = BasicPoolOptions<std::size_t>;

/// Says that a group takes its limit from its registry, now and after each set_limit().
struct UseGlobalLimit {
    friend constexpr bool operator==(UseGlobalLimit, UseGlobalLimit) = default;
};

/// The limit of a group's pools: its own number (0: unlimited), or, by default, that of the registry.
class GroupLimit {
public:
    constexpr GroupLimit() = default;
    /// This limit; 0: none.
    constexpr GroupLimit(std::size_t limit) : limit_(limit), follows_(false) {}
    /// That of the registry.
    constexpr GroupLimit(UseGlobalLimit) {}
    /// Whether it is that of the registry.
    constexpr bool follows() const noexcept { return follows_; }
    /// The number, when it is one.
    constexpr std::size_t value() const noexcept { return limit_; }

private:
    std::size_t limit_ = 0;
    bool follows_ = true;
};

/// What resize() may do to resources in use when the limit shrinks. By default it throws PoolInUse.
struct ResizeOptions {
    /// Shrink in any case: resources in use are interrupted and closed, as by reset().
    bool force = false;
    /// Shrink softly: resources in use above the new limit are closed when they are released.
    bool ignore_errors = false;
    /// Reset the pool, whether it grows or shrinks.
    bool reset = false;
};

}  // namespace kombu
