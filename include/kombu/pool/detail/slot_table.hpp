// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/detail/process.hpp>
#include <kombu/pool/detail/thread_cache.hpp>

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

/// The part of a slot that the fast path uses: one cache line, so that threads with slots of their own share none.
///
/// `word` is 0 while the slot is not available, else the number of its generation and `idle` or `leased`. A
/// compare-and-swap leases an idle slot. A leased slot belongs to its lease, which releases it with a plain store. The
/// other members belong to the lease too; they are atomic because statistics read them at any time.
struct alignas(64) SlotCell {
    std::atomic<std::uint64_t> word{0};
    std::atomic<void*> resource{nullptr};
    std::atomic<std::uint64_t> uses{0};                 ///< number of leases so far
    std::atomic<std::int64_t> acquired_at{0};           ///< nanoseconds of the steady clock; 0: not measured
    std::atomic<std::int64_t> released_at{0};           ///< nanoseconds of the coarse clock
    std::atomic<std::source_location> acquired_from{};  ///< where the last lease was acquired
    std::atomic<SlotId> id{0};
    std::atomic<bool> close_on_release{false};  ///< its release notifies the listener
    std::atomic<std::uint64_t> leaked_use{0};   ///< the number of the last lease that was reported as a leak
};
static_assert(sizeof(SlotCell) == 64);

/// Is notified of releases while the fast path is disabled.
class KOMBU_EXPORT SlotListener {
public:
    /// Takes over the table's lock.
    virtual void on_slot_released(SlotId slot, std::unique_lock<std::mutex> lock) noexcept = 0;

protected:
    virtual ~SlotListener() = default;
};

class SlotTable;

/// All tables of the process, and those that no pool has at present. Tables are never freed.
struct SlotTables {
    std::atomic<SlotTable*> all{nullptr};
    std::atomic<SlotTable*> free{nullptr};
    std::atomic<std::size_t> count{0};
    std::atomic_flag busy{};

    void lock() noexcept {
        while (busy.test_and_set(std::memory_order_acquire)) {
        }
    }
    void unlock() noexcept { busy.clear(std::memory_order_release); }
};
KOMBU_ONE_PER_PROCESS constinit SlotTables slot_tables{};

/// The slots of one pool. An idle slot is leased and released here without the pool's lock.
///
/// The fast path is enabled or disabled. While it is enabled, an acquire costs one read-modify-write and a release one
/// store. The holder of the lock disables it when releases must be known (callers wait, the limit was lowered, the pool
/// is closed); from then on every release() asks its caller to notify the listener.
///
/// No release is missed, by Dekker's argument: release() stores the slot's word and then loads the table's;
/// disable_fast_path() stores the table's word, and its caller then loads the slots'. Neither load may overtake the
/// store before it. The rare side pays for both sides (heavy_fence); where the kernel has no membarrier, both sides use
/// read-modify-writes. docs/pool-model.md has the proof, tests/model/ the model.
///
/// Tables are recycled and never freed: release() reads the table after its store, when slot and pool may be gone.
class KOMBU_EXPORT SlotTable {
public:
    /// Returns an empty table of a new generation, with the fast path enabled.
    static SlotTable& obtain(SlotListener* listener);
    /// Puts the table on the free list. No slot may be idle or leased; the lock must not be held.
    void recycle() noexcept;

    std::mutex& mutex() const noexcept { return mutex_; }

    // -- without the lock

    /// Leases an idle slot. Null when none is idle or the fast path is disabled.
    SlotCell* try_acquire() noexcept {
        const std::uint64_t idle = word_.load(std::memory_order_acquire);
        ThreadCache* const cache = thread_cache;
        if (cache) [[likely]] {
            const RecentSlots& recent = cache->recent_slots[bucket_];
            if (recent.idle == idle) [[likely]]
                if (SlotCell* cell = recent.cells[0]; try_lease(*cell, idle)) [[likely]]
                    return cell;
        }
        return try_acquire_other(cache, idle);
    }

    /// Leases this slot if it is idle, of the generation of this idle word, and the fast path is enabled. Generations
    /// are unique and cells never freed, so the slot may have ceased to exist: true says that it is the same one.
    bool try_acquire(SlotCell& cell, std::uint64_t idle) noexcept {
        return word_.load(std::memory_order_acquire) == idle && try_lease(cell, idle);
    }

    /// The idle word of a slot that the caller has leased.
    static std::uint64_t idle_word_of(const SlotCell& leased) noexcept {
        return leased.word.load(std::memory_order_relaxed) - (leased_state - idle_state);
    }

    /// Releases a slot. False: the caller must call notify_listener(), and may touch nothing else of the pool unless it
    /// keeps the pool alive by other means.
    KOMBU_ALWAYS_INLINE bool release(SlotCell& cell) noexcept {
        const std::uint64_t idle = idle_word_of(cell);
        const bool closes = cell.close_on_release.load(std::memory_order_relaxed);
        ThreadCache* const cache = thread_cache;
        if (!cache || cache->recent_slots[bucket_].cells[0] != &cell || cache->recent_slots[bucket_].idle != idle)
            [[unlikely]]
            remember_recent(cell, idle);
        if (process.membarrier.load(std::memory_order_relaxed)) [[likely]] {
            cell.word.store(idle, std::memory_order_release);
            // The compiler must keep this order; heavy_fence() makes the processor keep it where that matters.
            std::atomic_signal_fence(std::memory_order_seq_cst);
            return word_.load(std::memory_order_relaxed) == idle && !closes;
        }
        return release_without_membarrier(cell, idle) && !closes;
    }

    /// Tells the listener of a release. `slot` is only a hint: it may have been leased again, or be another pool's.
    KOMBU_NOINLINE void notify_listener(SlotId slot) noexcept {
        if (is_inherited()) return;
        std::unique_lock lock{mutex_};
        if (listener_) listener_->on_slot_released(slot, std::move(lock));
    }

    /// With the lock: no release is reported from here on.
    void detach_listener() noexcept { listener_ = nullptr; }

    /// The next try_acquire() of this thread starts from the lowest slot.
    void forget_recent() noexcept {
        if (ThreadCache* const cache = thread_cache) cache->recent_slots[bucket_].idle = RecentSlots::no_generation;
    }

    /// Whether the lease of this slot belongs to the present generation.
    bool is_current(const SlotCell& cell) const noexcept {
        return generation_of(cell.word.load(std::memory_order_relaxed)) ==
               generation_of(word_.load(std::memory_order_seq_cst));
    }

    /// Whether the table belongs to a parent process. Its lock may then be held for ever and must not be taken.
    bool is_inherited() const noexcept { return word_.load(std::memory_order_relaxed) == 0; }

    SlotId size() const noexcept { return size_.load(std::memory_order_acquire); }
    SlotCell& cell(SlotId id) const noexcept {
        const auto [chunk, place] = locate(id);
        return chunks_[chunk].load(std::memory_order_relaxed)[place];
    }
    static bool is_idle(const SlotCell& cell) noexcept {
        return (cell.word.load(std::memory_order_relaxed) & state_mask) == idle_state;
    }

    // -- with the lock

    bool needs_slow_path() const noexcept { return (word_.load(std::memory_order_relaxed) & state_mask) != idle_state; }

    /// From here on every release is reported. The caller must look at all slots after this call.
    void disable_fast_path() noexcept {
        if (!needs_slow_path()) switch_to(word_of(generation(), slow_path_state));
    }

    /// Starts a new generation with the fast path disabled. Leases of earlier generations are closed when released.
    void begin_generation() noexcept { switch_to(word_of(next_unique_id(), slow_path_state)); }

    void enable_fast_path() noexcept { word_.store(word_of(generation(), idle_state), std::memory_order_release); }

    std::uint64_t generation() const noexcept { return generation_of(word_.load(std::memory_order_relaxed)); }

    SlotId add();

    /// The slot has a resource, and is leased by the caller.
    void mark_leased(SlotCell& cell) noexcept {
        cell.word.store(word_of(generation(), leased_state), std::memory_order_release);
    }
    /// A slot that the caller has leased, or that has no resource, is no longer available.
    void mark_vacant(SlotCell& cell) noexcept { cell.word.store(0, std::memory_order_relaxed); }

    /// Leases the slot if it is idle. Callers on the fast path may be quicker.
    bool try_claim(SlotCell& cell) noexcept {
        const std::uint64_t idle = word_of(generation(), idle_state);
        return cell.word.load(std::memory_order_seq_cst) == idle && try_lease(cell, idle);
    }

    /// Leases the slot that this thread released last, of those it remembers that are idle.
    SlotCell* try_claim_recent() noexcept {
        const ThreadCache* const cache = thread_cache;
        const std::uint64_t idle = word_of(generation(), idle_state);
        if (!cache || cache->recent_slots[bucket_].idle != idle) return nullptr;
        for (SlotCell* cell : cache->recent_slots[bucket_].cells)
            if (cell && cell->word.load(std::memory_order_seq_cst) == idle && try_lease(*cell, idle)) return cell;
        return nullptr;
    }

    /// 0 for the slot that this thread released last, 1 for the one before, and so on.
    std::ptrdiff_t recency(const SlotCell& cell) const noexcept {
        const ThreadCache* const cache = thread_cache;
        if (!cache) return 0;
        const RecentSlots& recent = cache->recent_slots[bucket_];
        return std::find(recent.cells.begin(), recent.cells.end(), &cell) - recent.cells.begin();
    }

    /// Makes a slot that is idle, in whatever generation, unavailable.
    bool try_remove(SlotCell& cell) noexcept {
        std::uint64_t word = cell.word.load(std::memory_order_acquire);
        return (word & state_mask) == idle_state &&
               cell.word.compare_exchange_strong(word, 0, std::memory_order_acquire, std::memory_order_relaxed);
    }

private:
    static constexpr std::uint64_t idle_state = 1, leased_state = 2, slow_path_state = 3, state_mask = 3;
    static constexpr std::size_t first_chunk = 8;
    static constexpr std::size_t most_chunks = 28;

    /// In a forked child: makes every acquire and release on a table of the parent fail.
    static void on_fork_child() noexcept;
    /// The chunk of a slot, and its place within the chunk.
    static std::pair<std::size_t, std::size_t> locate(SlotId id) noexcept {
        const std::size_t at = id + first_chunk;
        const auto chunk =
            static_cast<std::size_t>(std::bit_width(at)) - static_cast<std::size_t>(std::bit_width(first_chunk));
        return {chunk, at - (first_chunk << chunk)};
    }

    explicit SlotTable(std::size_t bucket) noexcept : bucket_(bucket) {}

    static std::uint64_t word_of(std::uint64_t generation, std::uint64_t state) noexcept {
        return generation << 2 | state;
    }
    static std::uint64_t generation_of(std::uint64_t word) noexcept { return word >> 2; }

    static bool try_lease(SlotCell& cell, std::uint64_t idle) noexcept {
        return cell.word.compare_exchange_strong(idle, idle + (leased_state - idle_state), std::memory_order_acquire,
                                                 std::memory_order_relaxed);
    }

    void switch_to(std::uint64_t word) noexcept {
        word_.exchange(word, std::memory_order_seq_cst);
        heavy_fence();
    }

    KOMBU_NOINLINE bool release_without_membarrier(SlotCell& cell, std::uint64_t idle) noexcept {
        cell.word.exchange(idle, std::memory_order_seq_cst);
        return word_.load(std::memory_order_seq_cst) == idle;
    }

    KOMBU_NOINLINE SlotCell* try_acquire_other(ThreadCache* cache, std::uint64_t idle) noexcept {
        if ((idle & state_mask) != idle_state) return nullptr;
        if (cache && cache->recent_slots[bucket_].idle == idle) {
            for (SlotCell* cell : cache->recent_slots[bucket_].cells)
                if (cell && try_lease(*cell, idle)) return cell;
        }
        const SlotId slots = size();
        for (SlotId id = 0; id < slots; ++id) {
            SlotCell& found = cell(id);
            if (found.word.load(std::memory_order_relaxed) == idle && try_lease(found, idle)) return &found;
        }
        return nullptr;
    }

    KOMBU_NOINLINE void remember_recent(SlotCell& cell, std::uint64_t idle) noexcept {
        ThreadCache* const cache = this_thread_cache();
        if (!cache) return;
        RecentSlots& recent = cache->recent_slots[bucket_];
        if (recent.idle != idle) recent = {idle, {}};
        const auto found = std::find(recent.cells.begin(), recent.cells.end(), &cell);
        const auto last = found == recent.cells.end() ? std::prev(found) : found;
        std::move_backward(recent.cells.begin(), last, std::next(last));
        recent.cells.front() = &cell;
    }

    // Hot: read on every acquire and release; written only when the fast path is enabled or disabled.
    alignas(64) std::atomic<std::uint64_t> word_{0};
    std::atomic<SlotId> size_{0};
    const std::size_t bucket_;
    std::array<std::atomic<SlotCell*>, most_chunks> chunks_{};
    // The cache line of the lock.
    alignas(64) mutable std::mutex mutex_;
    SlotListener* listener_ = nullptr;
    SlotTable* next_of_all_ = nullptr;
    SlotTable* next_free_ = nullptr;
};

}  // namespace kombu::detail
