// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/pool/stats.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace kombu::detail {

/// A pool of a group, whatever its type, kept alive.
class KOMBU_EXPORT AnyPool {
public:
    AnyPool() = default;
    AnyPool(const AnyPool&) = delete;
    AnyPool& operator=(const AnyPool&) = delete;
    virtual ~AnyPool() = default;
    virtual void reset() noexcept = 0;
    virtual void close() noexcept = 0;
    /// Returns the number of leases that are not back by the deadline.
    virtual std::size_t wait_for_leases(Deadline deadline) = 0;
    virtual PoolStats stats() const = 0;
};

using AnyPools = std::vector<std::unique_ptr<AnyPool>>;

/// Closes the pools, then waits until their leases are back or the deadline has passed.
/// \return the number of leases that are not back
inline std::size_t close_and_wait(const AnyPools& pools, Deadline deadline) {
    for (const auto& pool : pools) pool->close();
    std::size_t missing = 0;
    for (const auto& pool : pools) missing += pool->wait_for_leases(deadline);
    return missing;
}

}  // namespace kombu::detail
