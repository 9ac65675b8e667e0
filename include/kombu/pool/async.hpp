// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>
#include <kombu/pool/detail/async_acquire.hpp>
#include <kombu/pool/detail/pool_access.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/resource_pool.hpp>

#include <functional>
#include <memory>
#include <utility>

/// Asynchronous acquires, for writers of drivers. Programs use ResourcePool::async_acquire and kombu/asio.hpp.
namespace kombu::async {

/// What asynchronous acquires call instead of ResourceFactory::prepare.
template <class T>
class PrepareHook final : public detail::AnyPrepareHook {
public:
    /// Makes a resource ready; false: it is dead.
    using Prepare = std::function<Operation<bool>(T&, const Acquisition&)>;
    /// \param prepare  is called at each acquire
    explicit PrepareHook(Prepare prepare) : prepare_(std::move(prepare)) {}
    /// Called by the engine, which does not know the type.
    Operation<bool> prepare(void* resource, const Acquisition& acquisition) const override {
        return prepare_(*static_cast<T*>(resource), acquisition);
    }

private:
    Prepare prepare_;
};

/// Makes a ResourceFactory::async_prepare.
/// \param prepare  returns an operation with the result of `prepare`; its arguments live until the operation is done
template <class T>
std::shared_ptr<const PrepareHook<T>> prepare_with(typename PrepareHook<T>::Prepare prepare) {
    return std::make_shared<const PrepareHook<T>>(std::move(prepare));
}

/// Acquires as ResourcePool::acquire does, without ever blocking. It waits when nothing is free, whether `block` is set
/// or not, in the same queue as threads. Destroyed before its end, it leaves nothing behind. Started before the pool is
/// destroyed, it may end after.
template <class T>
Operation<Lease<T>> acquire(const ResourcePool<T>& pool, AcquireOptions options = {}) {
    return detail::AsyncAcquire::run(detail::PoolAccess::engine(pool), options,
                                     detail::PoolAccess::factory(pool).async_prepare.get());
}

}  // namespace kombu::async

#ifndef KOMBU_POOL_COMPILED
#include <kombu/pool/detail/async_acquire.ipp>
#endif
