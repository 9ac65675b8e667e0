// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What PoolState does with a resource that comes back, when that is more than putting it on offer.
#include <kombu/pool/detail/pool_state.hpp>

namespace kombu::detail {

template <class T>
void PoolState<T>::give_back_slowly(SlotCell& cell, bool discard, bool unwinding) noexcept {
    if (table_.abandoned()) return;
    T& resource = resource_of(cell);
    measure_use(cell);
    if (discard || !factory_.keeps(resource, unwinding)) return throw_away(cell, CloseReason::discarded);
    if (times_idling_) cell.returned_at.store(coarse_now(), std::memory_order_relaxed);
    give(cell);
}

template <class T>
void PoolState<T>::measure_use(SlotCell& cell) noexcept {
    const std::int64_t since = cell.taken_at.load(std::memory_order_relaxed);
    cell.taken_at.store(0, std::memory_order_relaxed);
    const std::uint64_t uses = cell.uses.load(std::memory_order_relaxed);
    const bool sampled = is_sampled(uses);
    if (since == 0 || (!sampled && !options_.observer)) return;
    const std::chrono::nanoseconds used{Clock::now().time_since_epoch().count() - since};
    if (sampled) counters_.used(used, uses <= sampled_first ? 1 : sample_every);
    observe([&](PoolObserver& observer) { observer.released(options_.name, used); });
}

template <class T>
void PoolState<T>::throw_away(SlotCell& cell, CloseReason why) noexcept {
    shut(resource_of(cell), why);
    free_slot(cell.id.load(std::memory_order_relaxed), std::unique_lock{table_.mutex()});
}

template <class T>
std::shared_ptr<T> PoolState<T>::free_slot(SlotId slot, std::unique_lock<std::mutex> lock) noexcept {
    std::shared_ptr<T> gone = std::move(resources_[slot]);
    core_.discard(slot, now_if_waiting());
    end(std::move(lock));
    return gone;
}

template <class T>
void PoolState<T>::settle(SlotId slot, std::unique_lock<std::mutex> lock) noexcept {
    CloseReason why = CloseReason::surplus;
    if (slot < core_.slots()) {
        if (table_.cell(slot).retire.load(std::memory_order_relaxed)) why = CloseReason::max_lifetime;
        if (core_.state(slot) == PoolCore::SlotState::orphaned) why = CloseReason::reset;
        if (core_.closed()) why = CloseReason::pool_closed;
    }
    wakes_.defer();
    const auto returned = core_.settle(slot, now_if_waiting());
    const void* word = wakes_.take_deferred();
    if (returned == PoolCore::Returned::close) {
        std::shared_ptr<T> gone = std::move(resources_[slot]);
        lock.unlock();
        if (word) futex_wake(std::exchange(word, nullptr));
        shut(*gone, why);
        gone.reset();
        lock.lock();
        core_.closed(slot, now_if_waiting());
    }
    end(std::move(lock));
    if (word) futex_wake(word);
}

template <class T>
void PoolState<T>::put_back(SlotId slot) noexcept {
    std::unique_lock lock{table_.mutex()};
    if (core_.state(slot) == PoolCore::SlotState::creating) {
        core_.create_failed(slot, now_if_waiting());
        return end(std::move(lock));
    }
    lock.unlock();
    give(table_.cell(slot));
}

}  // namespace kombu::detail
