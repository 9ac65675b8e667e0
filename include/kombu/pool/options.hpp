// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/deadline.hpp>

#include <cstddef>
#include <string>

namespace kombu {

/// How to wait for a resource. Kombu's defaults: do not wait at all; when told to block, wait without bound.
struct AcquireOptions {
    /// Wait when nothing is free. Without it a full pool throws at once.
    bool block = false;
    /// How long the call may take in all, creating and preparing the resource included. Unset: no bound.
    OptionalTimeout timeout{};
};

struct PoolOptions {
    /// How many resources may exist at once, in use, idle and being created. 0 means unlimited; an unlimited pool keeps
    /// nothing: each acquire creates, each release closes (as in Kombu).
    std::size_t limit = 0;
    /// What errors call the pool.
    std::string name{};
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
