// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/pool_core.hpp>

#include <algorithm>
#include <cassert>
#include <new>
#include <tuple>
#include <utility>

namespace kombu::detail {

KOMBU_POOL_INLINE PoolCore::PoolCore(Policy policy, SlotListener* listener)
    : policy_(policy), table_(SlotTable::obtain(listener)) {
    update_fast_path();
}

KOMBU_POOL_INLINE std::size_t PoolCore::idle() const noexcept {
    std::size_t count = 0;
    for (SlotId id = 0; id < slots_.size(); ++id) count += is_idle(id) ? 1 : 0;
    return count;
}

// -- acquire

KOMBU_POOL_INLINE Decision PoolCore::acquire(Clock::time_point now, bool may_wait) noexcept {
    if (closed_) return {AcquireOutcome::closed};
    first_unexpired(now);  // those that have timed out and have not run since no longer count
    // The first waiter may have been notified and not have run since.
    if (notified_ && !within_barging_window(*notified_, now)) serve(now);
    Decision decision{AcquireOutcome::full};
    if (queue_.empty() || within_barging_window(*queue_.front(), now))
        decision = acquire_or_reserve(may_wait);
    else if (!may_wait && has_capacity())
        decision = reserve();  // waiters wait for others to connect; this caller cannot
    maybe_enable_fast_path();
    return decision;
}

KOMBU_POOL_INLINE Decision PoolCore::acquire_idle() noexcept {
    if (policy_.limit == 0) return {};
    if (const SlotCell* cell = table_.try_claim_recent())
        return {AcquireOutcome::use, cell->id.load(std::memory_order_relaxed)};
    for (SlotId id = 0; id < slots_.size(); ++id)
        if (acquire_slot(id)) return {AcquireOutcome::use, id};
    return {};
}

KOMBU_POOL_INLINE bool PoolCore::acquire_slot(SlotId id) noexcept {
    return id < slots_.size() && slots_[id].state == SlotState::live && table_.try_claim(table_.cell(id));
}

KOMBU_POOL_INLINE Decision PoolCore::acquire_or_reserve(bool may_wait) noexcept {
    if (const Decision idle = acquire_idle(); idle.outcome != AcquireOutcome::none) return idle;
    if (!has_capacity() || (may_wait && policy_.limit != 0 && !may_connect())) return {AcquireOutcome::full};
    return reserve();
}

KOMBU_POOL_INLINE Decision PoolCore::enqueue(Waiter& waiter) noexcept {
    table_.disable_fast_path();
    uncontended_ = 0;
    waiter.decision = {};
    if (queue_.empty())
        if (const Decision decision = acquire_or_reserve(true); decision.outcome != AcquireOutcome::full)
            return decision;
    queue_.push(waiter);
    return {};
}

KOMBU_POOL_INLINE void PoolCore::retry(Waiter& waiter, Clock::time_point now) noexcept {
    if (!waiter.queued_) return;
    waiter.notified_ = false;
    notified_ = nullptr;
    const Decision decision = acquire_or_reserve(true);
    if (decision.outcome != AcquireOutcome::full) {
        queue_.remove(waiter);
        waiter.decision = decision;
    }
    serve(now);
}

KOMBU_POOL_INLINE bool PoolCore::cancel(Waiter& waiter, Clock::time_point now) noexcept {
    if (!waiter.queued_) return false;
    unlink(waiter);
    serve(now);
    return true;
}

// -- create

KOMBU_POOL_INLINE Decision PoolCore::reserve_for_preload(bool obey_max_connecting) noexcept {
    if (closed_ || policy_.limit == 0 || !has_capacity() || (obey_max_connecting && !may_connect()))
        return {AcquireOutcome::full};
    return reserve();
}

KOMBU_POOL_INLINE Decision PoolCore::reserve() noexcept {
    SlotId id;
    if (vacant_.empty()) {
        try {
            if (slots_.size() == slots_.capacity()) slots_.reserve(slots_.size() * 2 + 8);
            vacant_.reserve(slots_.capacity());  // so that a release never allocates
            id = table_.add();
        } catch (const std::bad_alloc&) {
            return {AcquireOutcome::no_memory};
        }
        slots_.emplace_back();
    } else {
        id = vacant_.back();
        vacant_.pop_back();
    }
    slots_[id] = {.state = SlotState::creating, .generation = table_.generation()};
    ++creating_;
    ++occupied_;
    return {AcquireOutcome::create, id};
}

KOMBU_POOL_INLINE PoolCore::CreateOutcome PoolCore::created(SlotId id, Clock::time_point now, void* resource) noexcept {
    Slot& slot = slots_[id];
    assert(slot.state == SlotState::creating);
    const bool is_stale = slot.generation != table_.generation();
    if (closed_ || (is_stale && over_limit())) {
        --creating_;
        ++closing_;
        slot.state = SlotState::closing;
        return closed_ ? CreateOutcome::closed : CreateOutcome::surplus;
    }
    if (is_stale) {
        slot.generation = table_.generation();
        return CreateOutcome::stale;
    }
    --creating_;
    ++live_;
    slot.state = SlotState::live;
    SlotCell& cell = table_.cell(id);
    cell.resource.store(resource, std::memory_order_relaxed);
    cell.close_on_release.store(false, std::memory_order_relaxed);
    table_.mark_leased(cell);
    serve(now);  // one caller fewer is connecting
    return CreateOutcome::leased;
}

KOMBU_POOL_INLINE void PoolCore::create_failed(SlotId id, Clock::time_point now) noexcept {
    assert(slots_[id].state == SlotState::creating);
    free_slot(id);
    serve(now);
}

KOMBU_POOL_INLINE bool PoolCore::recreate(SlotId id) noexcept {
    Slot& slot = slots_[id];
    if (slot.state == SlotState::orphaned || closed_ || over_limit()) {
        begin_discard(id);
        return false;
    }
    table_.mark_vacant(table_.cell(id));
    assert(slot.state == SlotState::live);
    --live_;
    ++creating_;
    slot.state = SlotState::creating;
    slot.generation = table_.generation();
    return true;
}

// -- release

KOMBU_POOL_INLINE PoolCore::ReleaseAction PoolCore::released(SlotId id, Clock::time_point now) noexcept {
    if (id >= slots_.size()) return ReleaseAction::keep;  // of a pool that had the table before
    Slot& slot = slots_[id];
    SlotCell& cell = table_.cell(id);
    ReleaseAction action = ReleaseAction::keep;
    if (slot.state == SlotState::orphaned && table_.try_remove(cell)) {
        slot.state = SlotState::closing;
        slot.counted = false;
        slot.eviction = Eviction::none;  // there is nobody to interrupt
        action = ReleaseAction::close;
    } else if (slot.state == SlotState::live && must_close(cell) && table_.try_remove(cell)) {
        start_closing(id);
        action = ReleaseAction::close;
    }
    serve(now, id);
    maybe_enable_fast_path();
    return action;
}

KOMBU_POOL_INLINE void PoolCore::closed(SlotId id, Clock::time_point now) noexcept {
    assert(slots_[id].state == SlotState::closing);
    free_slot(id);
    serve(now);
}

KOMBU_POOL_INLINE void PoolCore::begin_discard(SlotId id) noexcept {
    table_.mark_vacant(table_.cell(id));
    Slot& slot = slots_[id];
    if (slot.state == SlotState::live) return start_closing(id);
    slot.state = SlotState::closing;  // orphaned, and not counted
    slot.counted = false;
    slot.eviction = Eviction::none;
}

KOMBU_POOL_INLINE void PoolCore::discard(SlotId id, Clock::time_point now) noexcept {
    table_.mark_vacant(table_.cell(id));
    free_slot(id);
    serve(now);
}

KOMBU_POOL_INLINE bool PoolCore::expire(SlotId id, CloseReason reason) noexcept {
    if (slots_[id].state != SlotState::live) return false;
    SlotCell& cell = table_.cell(id);
    // One that is leased is not idle after all.
    if (reason != CloseReason::idle_timeout) cell.close_on_release.store(true, std::memory_order_relaxed);
    if (!table_.try_remove(cell)) return false;
    evict(id, reason);
    return true;
}

// -- all slots at once

KOMBU_POOL_INLINE bool PoolCore::may_resize(std::size_t limit, const ResizeOptions& options) const noexcept {
    if (options.force || options.ignore_errors || options.reset || limit == 0) return true;
    if (policy_.limit != 0 && limit >= policy_.limit) return true;
    const std::size_t busy = used() - idle();
    return policy_.limit == 0 ? busy <= limit : busy == 0;
}

KOMBU_POOL_INLINE void PoolCore::set_limit(std::size_t limit, const ResizeOptions& options,
                                           Clock::time_point now) noexcept {
    const bool shrinks = limit != 0 && (policy_.limit == 0 || limit < policy_.limit);
    policy_.limit = limit;
    if (closed_) return;
    if (options.reset || (options.force && shrinks)) return reset(now);
    update_fast_path();
    if (over_limit() || limit == 0) {
        order_by_idle_time();
        for (const IdleSlot& idle : idle_order_) {
            if (limit != 0 && !over_limit()) break;
            if (table_.try_remove(table_.cell(idle.slot))) evict(idle.slot, CloseReason::surplus);
        }
    }
    update_fast_path();
    serve(now);
}

KOMBU_POOL_INLINE void PoolCore::reset(Clock::time_point now) noexcept {
    const CloseReason reason = closed_ ? CloseReason::pool_closed : CloseReason::reset;
    table_.begin_generation();
    for (SlotId id = 0; id < slots_.size(); ++id) {
        if (slots_[id].state != SlotState::live) continue;
        if (table_.try_remove(table_.cell(id))) {
            evict(id, reason);
        } else {
            slots_[id].state = SlotState::orphaned;
            slots_[id].eviction = Eviction::interrupt;
            --live_;
        }
    }
    serve(now);
}

KOMBU_POOL_INLINE void PoolCore::close() noexcept {
    closed_ = true;
    while (Waiter* waiter = queue_.front()) decide(*waiter, {AcquireOutcome::closed});
    table_.disable_fast_path();
    for (SlotId id = 0; id < slots_.size(); ++id)
        if (slots_[id].state == SlotState::live && table_.try_remove(table_.cell(id)))
            evict(id, CloseReason::pool_closed);
}

KOMBU_POOL_INLINE void PoolCore::reopen() noexcept { closed_ = false; }

KOMBU_POOL_INLINE std::size_t PoolCore::outstanding() const noexcept { return occupied_ - idle(); }

KOMBU_POOL_INLINE bool PoolCore::has_idle(SlotId likely) const noexcept {
    if (likely < slots_.size() && is_idle(likely)) return true;
    for (SlotId id = 0; id < slots_.size(); ++id)
        if (is_idle(id)) return true;
    return false;
}

KOMBU_POOL_INLINE void PoolCore::order_by_idle_time() noexcept {
    idle_order_.clear();
    for (auto id = static_cast<SlotId>(slots_.size()); id-- > 0;)
        if (const SlotCell& cell = table_.cell(id); is_idle(id))
            idle_order_.push_back({cell.released_at.load(std::memory_order_relaxed), table_.recency(cell), id});
    std::sort(idle_order_.begin(), idle_order_.end(), [](const IdleSlot& a, const IdleSlot& b) {
        return std::tuple{a.since, -a.recency, b.slot} < std::tuple{b.since, -b.recency, a.slot};
    });
}

// -- slots

KOMBU_POOL_INLINE void PoolCore::start_closing(SlotId id) noexcept {
    --live_;
    ++closing_;
    slots_[id].state = SlotState::closing;
}

KOMBU_POOL_INLINE void PoolCore::evict(SlotId id, CloseReason reason) noexcept {
    start_closing(id);
    slots_[id].eviction = Eviction::close;
    slots_[id].reason = reason;
}

KOMBU_POOL_INLINE void PoolCore::free_slot(SlotId id) noexcept {
    switch (slots_[id].state) {
        case SlotState::creating: --creating_; break;
        case SlotState::live: --live_; break;
        case SlotState::closing: closing_ -= slots_[id].counted ? 1 : 0; break;
        default: break;
    }
    slots_[id].state = SlotState::vacant;
    slots_[id].eviction = Eviction::none;
    vacant_.push_back(id);
    --occupied_;
}

// -- waiters

KOMBU_POOL_INLINE void PoolCore::serve(Clock::time_point now, SlotId likely) noexcept {
    if (closed_) return;
    // What was free before has been handed out already, unless a waiter was notified of it.
    const bool is_only_one = likely != no_slot && !notified_;
    while (Waiter* waiter = first_unexpired(now)) {
        if (notified_ && within_barging_window(*waiter, now)) return;  // it will retry, and serve the next one
        if (policy_.limit != 0 && has_idle(likely)) {
            if (within_barging_window(*waiter, now)) return notify(*waiter);
            const Decision decision = acquire_slot(likely) ? Decision{AcquireOutcome::use, likely} : acquire_idle();
            if (decision.outcome != AcquireOutcome::none) {
                decide(*waiter, decision);
                if (is_only_one) return;
                continue;
            }
        }
        if (!has_capacity() || (policy_.limit != 0 && !may_connect())) return;
        decide(*waiter, reserve());
    }
}

KOMBU_POOL_INLINE Waiter* PoolCore::first_unexpired(Clock::time_point now) noexcept {
    while (Waiter* waiter = queue_.front()) {
        if (waiter->deadline_ > now) return waiter;
        decide(*waiter, {AcquireOutcome::timed_out});
    }
    return nullptr;
}

KOMBU_POOL_INLINE void PoolCore::notify(Waiter& waiter) noexcept {
    assert(!notified_);
    notified_ = &waiter;
    waiter.notified_ = true;
    waiter.wake();
}

KOMBU_POOL_INLINE void PoolCore::unlink(Waiter& waiter) noexcept {
    queue_.remove(waiter);
    if (notified_ == &waiter) notified_ = nullptr;
    waiter.notified_ = false;
}

KOMBU_POOL_INLINE void PoolCore::decide(Waiter& waiter, Decision decision) noexcept {
    unlink(waiter);
    waiter.decision = decision;
    waiter.wake();
}

KOMBU_POOL_INLINE void PoolCore::maybe_enable_fast_path() noexcept {
    // Disabling it again is a barrier for every thread (bench/RESULTS.md), so contention must have ended for a while.
    constexpr unsigned reenable_after = 128;
    if (!table_.needs_slow_path() || fast_path_forbidden() || ++uncontended_ < reenable_after) return;
    uncontended_ = 0;
    table_.enable_fast_path();
}

}  // namespace kombu::detail
