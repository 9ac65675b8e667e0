// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/slot_table.hpp>

namespace kombu::detail {

KOMBU_POOL_INLINE void SlotTable::on_fork_child() noexcept {
    slot_tables.busy.clear(std::memory_order_relaxed);
    slot_tables.free.store(nullptr, std::memory_order_relaxed);
    for (auto* table = slot_tables.all.load(std::memory_order_relaxed); table; table = table->next_of_all_)
        table->word_.store(0, std::memory_order_relaxed);
}

KOMBU_POOL_INLINE SlotTable& SlotTable::obtain(SlotListener* listener) {
    prepare_fences();
    add_child_handler(on_fork_child);
    SlotTables& tables = slot_tables;
    tables.lock();
    SlotTable* table = tables.free.load(std::memory_order_relaxed);
    if (table) tables.free.store(table->next_free_, std::memory_order_relaxed);
    tables.unlock();
    if (!table) {
        table = new SlotTable{tables.count.fetch_add(1, std::memory_order_relaxed) % ThreadCache::recent_tables};
        SlotTable* head = tables.all.load(std::memory_order_relaxed);
        do table->next_of_all_ = head;
        while (!tables.all.compare_exchange_weak(head, table, std::memory_order_release, std::memory_order_relaxed));
    }
    std::lock_guard lock{table->mutex_};
    table->listener_ = listener;
    table->size_.store(0, std::memory_order_relaxed);
    table->word_.store(word_of(next_unique_id(), idle_state), std::memory_order_release);
    return *table;
}

KOMBU_POOL_INLINE void SlotTable::recycle() noexcept {
    {
        std::lock_guard lock{mutex_};
        listener_ = nullptr;
        word_.store(0, std::memory_order_relaxed);
    }
    SlotTables& tables = slot_tables;
    tables.lock();
    next_free_ = tables.free.load(std::memory_order_relaxed);
    tables.free.store(this, std::memory_order_relaxed);
    tables.unlock();
}

KOMBU_POOL_INLINE SlotId SlotTable::add() {
    const SlotId id = size_.load(std::memory_order_relaxed);
    const std::size_t chunk = locate(id).first;
    if (!chunks_.at(chunk).load(std::memory_order_relaxed))
        chunks_[chunk].store(new SlotCell[first_chunk << chunk], std::memory_order_release);
    SlotCell& added = cell(id);
    added.id.store(id, std::memory_order_relaxed);
    added.leaked_use.store(0, std::memory_order_relaxed);
    added.uses.store(0, std::memory_order_relaxed);
    added.acquired_at.store(0, std::memory_order_relaxed);
    added.released_at.store(0, std::memory_order_relaxed);
    size_.store(id + 1, std::memory_order_release);
    return id;
}

}  // namespace kombu::detail
