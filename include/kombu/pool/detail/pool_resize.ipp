// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_resize.hpp>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

namespace kombu::detail {

KOMBU_POOL_INLINE void lock_all(ResizeParticipants& participants) {
    std::stable_sort(participants.begin(), participants.end(),
                     [](const auto& a, const auto& b) { return std::less<>{}(a->lock_order(), b->lock_order()); });
    for (const auto& participant : participants) participant->lock();
}

KOMBU_POOL_INLINE PoolResizeParticipant::~PoolResizeParticipant() {
    if (!retained_) return;
    if (!engine_.is_of_this_process()) {
        if (lock_.owns_lock()) lock_.release();
        return;
    }
    if (!lock_.owns_lock()) lock_.lock();
    engine_.drop_reference(std::move(lock_));
}

KOMBU_POOL_INLINE void PoolResizeParticipant::lock() {
    lock_.lock();
    ++engine_.references_;  // the pool may be destroyed between unlock() and close_removed()
    retained_ = true;
}

KOMBU_POOL_INLINE void PoolResizeParticipant::check() {
    PoolCore& core = engine_.core_;
    if (core.closed()) return;
    if (core.may_resize(limit_, options_)) return core.prepare_resize();
    throw PoolInUse(engine_.reporter_.display_name() + ": cannot shrink while in use: limit " +
                    std::to_string(core.limit()) + ", wanted " + std::to_string(limit_) + ", in use " +
                    std::to_string(core.used() - core.idle()));
}

KOMBU_POOL_INLINE void PoolResizeParticipant::apply() noexcept {
    engine_.limit_.store(limit_, std::memory_order_relaxed);
    engine_.core_.set_limit(limit_, options_, engine_.now_if_waiting());
}

}  // namespace kombu::detail
