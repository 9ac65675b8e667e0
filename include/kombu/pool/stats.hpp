// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>

namespace kombu {

/// One consistent snapshot of a pool.
struct PoolStats {
    std::size_t limit = 0;        ///< 0: unlimited
    std::size_t in_use = 0;       ///< leased, and not dragged away since
    std::size_t idle = 0;         ///< ready to be leased
    std::size_t connecting = 0;   ///< being created at this moment
    std::size_t waiting = 0;      ///< callers in the queue
    std::uint64_t created = 0;    ///< resources made since the pool began
    std::uint64_t closed = 0;     ///< resources closed since the pool began
    std::uint64_t acquired = 0;   ///< successful acquires
    std::uint64_t timeouts = 0;   ///< acquires that waited in vain
    std::uint64_t discarded = 0;  ///< leases that ended with their resource thrown away
};

}  // namespace kombu
