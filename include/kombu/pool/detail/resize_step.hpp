// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace kombu::detail {

/// One pool's (or group's) part in a change of limit that happens everywhere or nowhere. It holds the pool's lock from
/// construction to unlock() or destruction: first every part is checked, then every part applied, then all are
/// unlocked, and only then is anything closed.
class ResizeStep {
public:
    ResizeStep() = default;
    ResizeStep(const ResizeStep&) = delete;
    ResizeStep& operator=(const ResizeStep&) = delete;
    virtual ~ResizeStep() = default;
    /// Throws PoolInUse when the change is refused.
    virtual void check() const = 0;
    virtual void apply() = 0;
    /// Doing it twice does nothing.
    virtual void unlock() noexcept = 0;
    /// Closes what the change removed. After unlock().
    virtual void finish() noexcept = 0;
};

}  // namespace kombu::detail
