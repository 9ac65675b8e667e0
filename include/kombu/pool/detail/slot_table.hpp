// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <source_location>
#include <utility>

namespace kombu::detail {

using SlotId = std::uint32_t;

/// What the fast path knows of a slot: one cache line, so that threads with slots of their own do not meet.
///
/// `word` is 0 while the slot is not on offer, else the number of its regime and `idle` or `leased`. Whoever wants an
/// idle slot takes it with a compare-and-swap. A leased one is its lessee's alone, who gives it back with a plain
/// store. The rest belongs to the lessee; it is atomic since statistics read it at any time.
struct alignas(64) SlotCell {
    std::atomic<std::uint64_t> word{0};
    std::atomic<void*> resource{nullptr};
    std::atomic<std::uint64_t> uses{0};         ///< how often it was taken
    std::atomic<std::int64_t> taken_at{0};      ///< coarse nanoseconds; 0: not measured
    std::atomic<std::int64_t> returned_at{0};   ///< likewise
    std::atomic<std::source_location> taker{};  ///< who took it last
    std::atomic<SlotId> id{0};
    std::atomic<bool> retire{false};  ///< whoever gives it back tells the owner
};
static_assert(sizeof(SlotCell) == 64);

/// The slots of a pool that this thread used last, the latest first: where it looks first, so that it gets back what
/// it gave, which no other thread has touched since.
struct RecentSlots {
    static constexpr std::uint64_t of_no_regime = ~std::uint64_t{0};
    std::uint64_t idle = of_no_regime;  ///< the idle word of the regime that the cells were seen in
    std::array<SlotCell*, 7> cells{};
};
constexpr std::size_t recent_tables = 8;
/// initial-exec: shared objects otherwise make it a call per access, which shows in so short a cycle.
__attribute__((tls_model("initial-exec"))) inline constinit thread_local std::array<RecentSlots, recent_tables>
    recent_slots{};

/// Hears of slots that came back while a table wanted attention.
class SlotOwner {
public:
    /// With the table's lock, which it takes over.
    virtual void settle(SlotId slot, std::unique_lock<std::mutex> lock) noexcept = 0;

protected:
    virtual ~SlotOwner() = default;
};

/// The slots of one pool, and the ways to take an idle one and to give it back without the pool's lock.
///
/// The table is *calm* or *wants attention*. Calm, slots are taken and given back here, by one read-modify-write and
/// one store. When somebody must hear of what comes back (callers wait, the limit was lowered, the pool is closed)
/// whoever holds the lock demands attention, and from then on every give() ends with telling the owner.
///
/// That nothing slips through between the two is Dekker's argument: give() stores the word and then looks whether
/// attention is wanted; demand_attention() writes that and then the caller looks at the words. Both orders must hold
/// between a store and a later load. The rare side pays for both (heavy_fence); where the kernel has no membarrier both
/// sides use read-modify-writes. docs/pool-model.md has the proof, tests/model/ the model.
///
/// Tables are never freed, only used again: give() looks at the table after the slot, and with it maybe the pool, is
/// no longer the caller's.
class SlotTable {
public:
    /// An empty table, calm, of a new regime. Only the owner's lock-holder hears through `owner`.
    static SlotTable& adopt(SlotOwner* owner);
    /// Back to the store. No slot may be on offer or leased. With the table's lock not held.
    void retire() noexcept;

    std::mutex& mutex() const noexcept { return mutex_; }

    // -- without the lock

    /// An idle slot, now the caller's; null when there is none or attention is wanted.
    SlotCell* take() noexcept {
        RecentSlots& recent = recent_slots[bucket_];
        const std::uint64_t idle = word_.load(std::memory_order_acquire);
        if (recent.idle == idle) [[likely]]
            if (SlotCell* cell = recent.cells[0]; try_take(*cell, idle)) [[likely]]
                return cell;
        return take_another(recent, idle);
    }

    /// Gives a slot back. True when that was all; else the caller must tell_owner(), and touch nothing of the pool that
    /// it does not keep alive otherwise.
    __attribute__((always_inline)) bool give(SlotCell& cell) noexcept {
        const std::uint64_t idle = cell.word.load(std::memory_order_relaxed) - (leased_state - idle_state);
        const bool retire = cell.retire.load(std::memory_order_relaxed);
        RecentSlots& recent = recent_slots[bucket_];
        if (recent.cells[0] != &cell || recent.idle != idle) [[unlikely]]
            remember(recent, cell, idle);
        if (process.membarrier.load(std::memory_order_relaxed)) [[likely]] {
            cell.word.store(idle, std::memory_order_release);
            // The compiler must keep the order; heavy_fence() makes the processor keep it when it matters.
            std::atomic_signal_fence(std::memory_order_seq_cst);
            return word_.load(std::memory_order_relaxed) == idle && !retire;
        }
        return give_without_membarrier(cell, idle) && !retire;
    }

    /// A slot came back and attention was wanted. `slot` is only a hint: it may be somebody else's by now.
    __attribute__((noinline)) void tell_owner(SlotId slot) noexcept {
        if (abandoned()) return;
        std::unique_lock lock{mutex_};
        if (owner_) owner_->settle(slot, std::move(lock));
    }

    /// With the lock: nobody hears of slots from here on.
    void disown() noexcept { owner_ = nullptr; }

    /// Forget which slots this thread used last: the next take() starts from the lowest.
    void forget_recent() noexcept { recent_slots[bucket_].idle = RecentSlots::of_no_regime; }

    /// Whether a lease of this slot was made in the present regime, and not dragged away since.
    bool is_current(const SlotCell& cell) const noexcept {
        return regime_of(cell.word.load(std::memory_order_relaxed)) == regime_of(word_.load(std::memory_order_acquire));
    }

    /// Belongs to the process that this one was forked from. Then the lock may be held for ever: stay away.
    bool abandoned() const noexcept { return word_.load(std::memory_order_relaxed) == 0; }

    SlotId size() const noexcept { return size_.load(std::memory_order_acquire); }
    SlotCell& cell(SlotId id) const noexcept {
        const std::size_t at = id + first_chunk;
        const auto chunk =
            static_cast<std::size_t>(std::bit_width(at)) - static_cast<std::size_t>(std::bit_width(first_chunk));
        return chunks_[chunk].load(std::memory_order_relaxed)[at - (first_chunk << chunk)];
    }
    static bool is_idle(const SlotCell& cell) noexcept {
        return (cell.word.load(std::memory_order_relaxed) & state_mask) == idle_state;
    }

    // -- with the lock

    bool wants_attention() const noexcept { return (word_.load(std::memory_order_relaxed) & state_mask) != idle_state; }

    /// From here on every slot that comes back is told of; the caller must look at all slots after this.
    void demand_attention() noexcept {
        if (!wants_attention()) switch_to(word_of(regime(), attention_state));
    }

    /// A new regime, which wants attention: leases of the old one are strangers.
    void begin_regime() noexcept { switch_to(word_of(next_number(), attention_state)); }

    void calm_down() noexcept { word_.store(word_of(regime(), idle_state), std::memory_order_release); }

    std::uint64_t regime() const noexcept { return regime_of(word_.load(std::memory_order_relaxed)); }

    SlotId add();

    /// A slot has a resource: it is its first lessee's.
    void lend(SlotCell& cell) noexcept { cell.word.store(word_of(regime(), leased_state), std::memory_order_release); }
    /// A slot that the caller has leased, or that has nothing, is no longer on offer.
    void withdraw(SlotCell& cell) noexcept { cell.word.store(0, std::memory_order_relaxed); }

    /// Takes an idle slot of the present regime, or says that it is not one. Fast takers may be quicker.
    bool claim(SlotCell& cell) noexcept {
        const std::uint64_t idle = word_of(regime(), idle_state);
        return cell.word.load(std::memory_order_seq_cst) == idle && try_take(cell, idle);
    }

    /// Takes the idle slot that this thread used last, of those it remembers.
    SlotCell* claim_recent() noexcept {
        RecentSlots& recent = recent_slots[bucket_];
        const std::uint64_t idle = word_of(regime(), idle_state);
        if (recent.idle != idle) return nullptr;
        for (SlotCell* cell : recent.cells)
            if (cell && cell->word.load(std::memory_order_seq_cst) == idle && try_take(*cell, idle)) return cell;
        return nullptr;
    }

    /// 0 for the slot that this thread used last, 1 for the one before, and so on.
    std::ptrdiff_t how_recent(const SlotCell& cell) const noexcept {
        const RecentSlots& recent = recent_slots[bucket_];
        return std::find(recent.cells.begin(), recent.cells.end(), &cell) - recent.cells.begin();
    }

    /// Takes a slot that came back under whatever regime out of use.
    bool reap(SlotCell& cell) noexcept {
        std::uint64_t word = cell.word.load(std::memory_order_acquire);
        return (word & state_mask) == idle_state &&
               cell.word.compare_exchange_strong(word, 0, std::memory_order_acquire, std::memory_order_relaxed);
    }

private:
    static constexpr std::uint64_t idle_state = 1, leased_state = 2, attention_state = 3, state_mask = 3;
    static constexpr std::size_t first_chunk = 8;
    static constexpr std::size_t most_chunks = 28;

    struct Store;
    static Store& store() noexcept;

    explicit SlotTable(std::size_t bucket) noexcept : bucket_(bucket) {}

    static std::uint64_t word_of(std::uint64_t regime, std::uint64_t state) noexcept { return regime << 2 | state; }
    static std::uint64_t regime_of(std::uint64_t word) noexcept { return word >> 2; }

    static bool try_take(SlotCell& cell, std::uint64_t idle) noexcept {
        return cell.word.compare_exchange_strong(idle, idle + (leased_state - idle_state), std::memory_order_acquire,
                                                 std::memory_order_relaxed);
    }

    void switch_to(std::uint64_t word) noexcept {
        word_.exchange(word, std::memory_order_seq_cst);
        heavy_fence();
    }

    __attribute__((noinline)) bool give_without_membarrier(SlotCell& cell, std::uint64_t idle) noexcept {
        cell.word.exchange(idle, std::memory_order_seq_cst);
        return word_.load(std::memory_order_seq_cst) == idle;
    }

    __attribute__((noinline)) SlotCell* take_another(RecentSlots& recent, std::uint64_t idle) noexcept {
        if ((idle & state_mask) != idle_state) return nullptr;
        if (recent.idle == idle) {
            for (SlotCell* cell : recent.cells)
                if (cell && try_take(*cell, idle)) return cell;
        }
        const SlotId slots = size();
        for (SlotId id = 0; id < slots; ++id) {
            SlotCell& found = cell(id);
            if (found.word.load(std::memory_order_relaxed) == idle && try_take(found, idle)) return &found;
        }
        return nullptr;
    }

    __attribute__((noinline)) static void remember(RecentSlots& recent, SlotCell& cell, std::uint64_t idle) noexcept {
        if (recent.idle != idle) recent = {idle, {}};
        const auto known = std::find(recent.cells.begin(), recent.cells.end(), &cell);
        const auto last = known == recent.cells.end() ? std::prev(known) : known;
        std::move_backward(recent.cells.begin(), last, std::next(last));
        recent.cells.front() = &cell;
    }

    // Read by everybody, written when the pool changes its mood.
    alignas(64) std::atomic<std::uint64_t> word_{0};
    std::atomic<SlotId> size_{0};
    const std::size_t bucket_;
    std::array<std::atomic<SlotCell*>, most_chunks> chunks_{};
    // The lock's line.
    alignas(64) mutable std::mutex mutex_;
    SlotOwner* owner_ = nullptr;
    SlotTable* next_of_all_ = nullptr;
    SlotTable* next_free_ = nullptr;
};

/// Every table there is, and those that no pool has at present.
struct SlotTable::Store {
    std::atomic<SlotTable*> all{nullptr};
    std::atomic<SlotTable*> free{nullptr};
    std::atomic<std::size_t> count{0};
    std::atomic_flag busy{};

    void lock() noexcept {
        while (busy.test_and_set(std::memory_order_acquire)) {
        }
    }
    void unlock() noexcept { busy.clear(std::memory_order_release); }

    /// In a child: the tables of the parent are of no use here, and its leases must find that out.
    static void abandon() noexcept {
        Store& self = store();
        self.busy.clear(std::memory_order_relaxed);
        self.free.store(nullptr, std::memory_order_relaxed);
        for (auto* table = self.all.load(std::memory_order_relaxed); table; table = table->next_of_all_)
            table->word_.store(0, std::memory_order_relaxed);
    }
};

inline SlotTable::Store& SlotTable::store() noexcept {
    static constinit Store the_store{};
    return the_store;
}

inline SlotTable& SlotTable::adopt(SlotOwner* owner) {
    prepare_fences();
    add_child_handler(Store::abandon);
    Store& tables = store();
    tables.lock();
    SlotTable* table = tables.free.load(std::memory_order_relaxed);
    if (table) tables.free.store(table->next_free_, std::memory_order_relaxed);
    tables.unlock();
    if (!table) {
        table = new SlotTable{tables.count.fetch_add(1, std::memory_order_relaxed) % recent_tables};
        SlotTable* head = tables.all.load(std::memory_order_relaxed);
        do table->next_of_all_ = head;
        while (!tables.all.compare_exchange_weak(head, table, std::memory_order_release, std::memory_order_relaxed));
    }
    std::lock_guard lock{table->mutex_};
    table->owner_ = owner;
    table->size_.store(0, std::memory_order_relaxed);
    table->word_.store(word_of(next_number(), idle_state), std::memory_order_release);
    return *table;
}

inline void SlotTable::retire() noexcept {
    {
        std::lock_guard lock{mutex_};
        owner_ = nullptr;
        word_.store(0, std::memory_order_relaxed);
    }
    Store& tables = store();
    tables.lock();
    next_free_ = tables.free.load(std::memory_order_relaxed);
    tables.free.store(this, std::memory_order_relaxed);
    tables.unlock();
}

inline SlotId SlotTable::add() {
    const SlotId id = size_.load(std::memory_order_relaxed);
    const std::size_t at = id + first_chunk;
    const auto chunk =
        static_cast<std::size_t>(std::bit_width(at)) - static_cast<std::size_t>(std::bit_width(first_chunk));
    if (!chunks_.at(chunk).load(std::memory_order_relaxed))
        chunks_[chunk].store(new SlotCell[first_chunk << chunk], std::memory_order_release);
    SlotCell& fresh = cell(id);
    fresh.id.store(id, std::memory_order_relaxed);
    fresh.uses.store(0, std::memory_order_relaxed);
    fresh.taken_at.store(0, std::memory_order_relaxed);
    fresh.returned_at.store(0, std::memory_order_relaxed);
    size_.store(id + 1, std::memory_order_release);
    return id;
}

}  // namespace kombu::detail
