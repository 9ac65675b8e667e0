// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>
#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/options.hpp>

namespace kombu::detail {

/// ResourceFactory::async_prepare without the type of the resource.
class KOMBU_EXPORT AnyPrepareHook {
public:
    AnyPrepareHook() = default;
    AnyPrepareHook(const AnyPrepareHook&) = delete;
    AnyPrepareHook& operator=(const AnyPrepareHook&) = delete;
    virtual ~AnyPrepareHook() = default;
    virtual async::Operation<bool> prepare(void* resource, const Acquisition& acquisition) const = 0;
};

/// Acquires for callers that must not be blocked. They wait in the same queue as threads.
class KOMBU_EXPORT AsyncAcquire {
public:
    /// `hook`: may be null; lives as long as the engine.
    static async::Operation<AnyLease> run(PoolEngine& engine, AcquireOptions options, const AnyPrepareHook* hook);

private:
    class OperationWaiter;
};

}  // namespace kombu::detail
