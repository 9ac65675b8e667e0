// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

namespace kombu::detail {

/// Work that PeriodicThread does again and again.
class KOMBU_EXPORT PeriodicTask {
public:
    /// Keeps the object alive until run() has returned. False: it is to be removed from the thread.
    virtual bool try_retain() noexcept = 0;
    /// Called after try_retain(), with no lock held.
    virtual void run() noexcept = 0;

protected:
    virtual ~PeriodicTask() = default;
};

}  // namespace kombu::detail
