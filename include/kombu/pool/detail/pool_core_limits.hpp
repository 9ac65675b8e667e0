// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What PoolCore does to all of its slots at once: another limit, a reset, the end.
#include <kombu/pool/detail/pool_core.hpp>

namespace kombu::detail {

inline bool PoolCore::may_resize(std::size_t limit, const ResizeOptions& options) const noexcept {
    if (options.force || options.ignore_errors || options.reset || limit == 0) return true;
    if (rules_.limit != 0 && limit >= rules_.limit) return true;
    const std::size_t busy = used() - idle();
    return rules_.limit == 0 ? busy <= limit : busy == 0;
}

inline PoolCore::Evicted PoolCore::set_limit(std::size_t limit, const ResizeOptions& options, Clock::time_point now) {
    const bool shrinks = limit != 0 && (rules_.limit == 0 || limit < rules_.limit);
    rules_.limit = limit;
    if (options.reset || (options.force && shrinks)) return reset(now);
    Evicted evicted;
    settle_mood();
    if (is_over() || limit == 0)
        for (const SlotId id : longest_idle_first()) {
            if (limit != 0 && !is_over()) break;
            if (table_.reap(table_.cell(id))) evict(id, evicted.idle);
        }
    settle_mood();
    serve(now);
    return evicted;
}

inline PoolCore::Evicted PoolCore::reset(Clock::time_point now) {
    Evicted evicted;
    table_.begin_regime();
    for (SlotId id = 0; id < slots_.size(); ++id) {
        if (slots_[id].state != SlotState::live) continue;
        if (table_.reap(table_.cell(id))) {
            evict(id, evicted.idle);
        } else {
            slots_[id].state = SlotState::orphaned;
            --live_;
            evicted.leased.push_back(id);
        }
    }
    serve(now);
    return evicted;
}

inline std::vector<SlotId> PoolCore::close() {
    closed_ = true;
    while (Waiter* waiter = queue_.front()) decide(*waiter, {Grant::closed});
    table_.demand_attention();
    std::vector<SlotId> evicted;
    for (SlotId id = 0; id < slots_.size(); ++id)
        if (slots_[id].state == SlotState::live && table_.reap(table_.cell(id))) evict(id, evicted);
    return evicted;
}

inline std::vector<SlotId> PoolCore::longest_idle_first() const {
    struct Idle {
        std::int64_t since;  // read once: the lessees go on writing it
        std::ptrdiff_t recent;
        SlotId slot;
    };
    std::vector<Idle> found;
    for (auto id = static_cast<SlotId>(slots_.size()); id-- > 0;) {
        const SlotCell& cell = table_.cell(id);
        if (slots_[id].state == SlotState::live && SlotTable::is_idle(cell))
            found.push_back({cell.returned_at.load(std::memory_order_relaxed), table_.how_recent(cell), id});
    }
    std::stable_sort(found.begin(), found.end(), [](const Idle& a, const Idle& b) {
        return std::pair{a.since, -a.recent} < std::pair{b.since, -b.recent};
    });
    std::vector<SlotId> slots;
    for (const Idle& idle : found) slots.push_back(idle.slot);
    return slots;
}

}  // namespace kombu::detail
