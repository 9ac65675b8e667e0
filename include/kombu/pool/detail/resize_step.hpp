// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

namespace kombu::detail {

/// One pool's (or group's) part in a change of limit that happens everywhere or nowhere. First every part is locked,
/// then every part checked, then every part applied, then all are unlocked, and only then is anything closed.
class ResizeStep {
public:
    ResizeStep() = default;
    ResizeStep(const ResizeStep&) = delete;
    ResizeStep& operator=(const ResizeStep&) = delete;
    virtual ~ResizeStep() = default;
    /// A group is locked from the beginning, since it must not get other pools.
    virtual void lock() = 0;
    /// Pools are locked in the order of their locks' addresses: their tables serve other pools afterwards.
    virtual const void* place() const noexcept = 0;
    /// Throws PoolInUse when the change is refused.
    virtual void check() const = 0;
    virtual void apply() = 0;
    /// Doing it twice does nothing.
    virtual void unlock() noexcept = 0;
    /// Closes what the change removed. After unlock().
    virtual void finish() noexcept = 0;
};

using ResizeSteps = std::vector<std::unique_ptr<ResizeStep>>;

inline void lock_in_order(ResizeSteps& steps) {
    std::stable_sort(steps.begin(), steps.end(),
                     [](const auto& a, const auto& b) { return std::less<>{}(a->place(), b->place()); });
    for (const auto& step : steps) step->lock();
}

}  // namespace kombu::detail
