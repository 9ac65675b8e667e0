// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <memory>
#include <vector>

namespace kombu::detail {

/// The part of one pool, or of one group, in a change of limit that happens everywhere or nowhere. All participants are
/// locked; then all are checked; then all apply the change; then all are unlocked; only then is anything closed.
class KOMBU_EXPORT ResizeParticipant {
public:
    ResizeParticipant() = default;
    ResizeParticipant(const ResizeParticipant&) = delete;
    ResizeParticipant& operator=(const ResizeParticipant&) = delete;
    virtual ~ResizeParticipant() = default;
    /// A group is locked from its construction on, since it must not get further pools.
    virtual void lock() = 0;
    /// Pools are locked in the order of the addresses of their locks: a table's lock serves other pools later.
    virtual const void* lock_order() const noexcept = 0;
    /// Allocates what apply() needs.
    /// \throws PoolInUse  when the change is refused
    virtual void check() = 0;
    virtual void apply() noexcept = 0;
    /// Calling it twice has no effect.
    virtual void unlock() noexcept = 0;
    /// Closes what the change removed. Called after unlock().
    virtual void close_removed() noexcept = 0;
};

using ResizeParticipants = std::vector<std::unique_ptr<ResizeParticipant>>;

void lock_all(ResizeParticipants& participants);

}  // namespace kombu::detail
