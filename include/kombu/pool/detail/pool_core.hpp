// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/slot_table.hpp>
#include <kombu/pool/detail/wait_queue.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace kombu::detail {

/// The decisions of a pool as a pure state machine: no clock, no thread, no I/O. The caller holds the table's lock
/// during each call, passes the time, and carries out what is decided. docs/pool-model.md has the state diagram.
///
/// Whether a *live* slot is idle or leased changes without the lock, and only the table knows it. The number of slots
/// changes here only, so nothing on the fast path can exceed the limit.
///
/// Holds after every call: live + creating + closing <= limit, unless the limit was just lowered under use; when
/// callers wait and something is free, the first of them has been notified; every slot is in exactly one state.
class KOMBU_EXPORT PoolCore {
public:
    /// `orphaned`: leased in an earlier generation, no longer counted. `closing`: its resource is being closed.
    enum class SlotState : std::uint8_t { vacant, creating, live, orphaned, closing };
    enum class CreateOutcome : std::uint8_t { leased, stale, surplus, closed };
    /// `close`: the caller closes the released resource and then calls closed().
    enum class ReleaseAction : std::uint8_t { keep, close };

    struct Policy {
        std::size_t limit = 0;           ///< 0: unlimited
        std::size_t max_connecting = 0;  ///< concurrent creates by callers that may wait; 0: unlimited
        /// For how long newcomers may overtake the first waiter. After that the next free slot is handed to it.
        Clock::duration barging_window{0};
    };

    /// What remains to be done with a resource that the core has taken out of use. Its slot does not change before.
    enum class Eviction : std::uint8_t { none, close, interrupt };

    PoolCore(Policy policy, SlotListener* listener);
    PoolCore(const PoolCore&) = delete;
    PoolCore& operator=(const PoolCore&) = delete;
    ~PoolCore() { table_.recycle(); }

    SlotTable& table() const noexcept { return table_; }
    std::size_t limit() const noexcept { return policy_.limit; }
    std::size_t live() const noexcept { return live_; }
    std::size_t creating() const noexcept { return creating_; }
    std::size_t closing() const noexcept { return closing_; }
    std::size_t waiting() const noexcept { return queue_.size(); }
    std::size_t used() const noexcept { return live_ + creating_ + closing_; }
    /// Slots that are not vacant. While there are any, the pool's state must not be destroyed.
    std::size_t occupied() const noexcept { return occupied_; }
    std::size_t slots() const noexcept { return slots_.size(); }
    bool closed() const noexcept { return closed_; }
    /// No further resource may be created.
    bool is_full() const noexcept { return !has_capacity(); }
    SlotState state(SlotId slot) const { return slots_[slot].state; }
    /// Live slots that are not leased at this moment.
    std::size_t idle() const noexcept;

    /// Decides for a caller: an idle resource, a reserved slot, or the reason for neither. `may_wait`: the caller
    /// queues rather than exceed max_connecting.
    Decision acquire(Clock::time_point now, bool may_wait = false) noexcept;

    /// Leases the slot that this thread released last, else the lowest, so that a surplus stays unused. `none` when
    /// nothing is idle.
    Decision acquire_idle() noexcept;

    /// Queues the waiter. Only after acquire() returned `full`. What became free in between is returned at once;
    /// otherwise the decision is `none`, and a later one is written into the waiter.
    Decision enqueue(Waiter& waiter) noexcept;

    /// A notified waiter tries to acquire. When other callers were quicker the decision stays `none`, and the waiter
    /// keeps its place.
    void retry(Waiter& waiter, Clock::time_point now) noexcept;

    /// Removes the waiter from the queue. False when a decision was written first: the waiter must then honour it.
    bool cancel(Waiter& waiter, Clock::time_point now) noexcept;

    /// Reserves a slot for a resource that no caller waits for. `full` when there is no capacity.
    Decision reserve_for_preload(bool obey_max_connecting) noexcept;

    /// The resource of a reserved slot exists and is leased by the caller. `stale`: a reset came in between; close the
    /// resource and create another for the same slot. `surplus`: likewise, but the limit has become smaller; close it,
    /// call closed(), and start again. `closed`: close it, then call closed().
    CreateOutcome created(SlotId id, Clock::time_point now, void* resource = nullptr) noexcept;

    /// The resource could not be created: its capacity goes to the first waiter.
    void create_failed(SlotId id, Clock::time_point now) noexcept;

    /// The resource of a slot that the caller leases is dead. True: the caller closes it and creates another in its
    /// place. False when the slot was orphaned, the pool closed, or its limit exceeded: the caller closes it and then
    /// calls closed().
    bool recreate(SlotId id) noexcept;

    /// A slot was released with the fast path disabled. It may have been handled already, or leased again.
    ReleaseAction released(SlotId id, Clock::time_point now) noexcept;

    /// The resource of a slot in state `closing` is closed.
    void closed(SlotId id, Clock::time_point now) noexcept;

    /// The caller, which leases the slot, is going to close its resource, and then calls closed().
    void begin_discard(SlotId id) noexcept;

    /// A lease ended and its resource no longer exists, or not in this pool.
    void discard(SlotId id, Clock::time_point now) noexcept;

    /// Leases this slot to the caller, for maintenance. False when it is not idle.
    bool acquire_slot(SlotId id) noexcept;

    /// A live slot is not to be used again. True: it was idle and is evicted now. False: it is closed when released.
    bool expire(SlotId id, CloseReason reason) noexcept;

    /// Whether set_limit() with these options would be accepted.
    bool may_resize(std::size_t limit, const ResizeOptions& options) const noexcept;

    /// Allocates what set_limit() needs.
    void prepare_resize() { idle_order_.reserve(slots_.size()); }
    /// Evicts the resources above the limit. After prepare_resize(), with the lock held in between. A closed pool only
    /// keeps the limit for a reset.
    void set_limit(std::size_t limit, const ResizeOptions& options, Clock::time_point now) noexcept;

    /// Starts a new generation: idle resources are evicted, leased ones orphaned (no longer counted, to be interrupted,
    /// closed when they are released), and those being created will be created again.
    void reset(Clock::time_point now) noexcept;

    /// Refuses every further acquire, and tells all waiters. Leases stay valid and are closed when released. Idle
    /// resources are evicted.
    void close() noexcept;
    /// Accepts acquires again.
    void reopen() noexcept;

    /// What somebody has to do for an evicted slot: close its resource and then call closed(), or interrupt it.
    Eviction eviction(SlotId id) const noexcept { return slots_[id].eviction; }
    /// The caller does it.
    void begin_eviction(SlotId id) noexcept { slots_[id].eviction = Eviction::none; }
    CloseReason close_reason(SlotId id) const noexcept { return slots_[id].reason; }
    /// Slots that are leased, orphaned ones included, or whose resources are being closed or created.
    std::size_t outstanding() const noexcept;

private:
    struct Slot {
        SlotState state = SlotState::vacant;
        bool counted = true;
        Eviction eviction = Eviction::none;
        CloseReason reason = CloseReason::discarded;
        std::uint64_t generation = 0;
    };

    bool has_capacity() const noexcept { return policy_.limit == 0 || used() < policy_.limit; }
    /// Without the slots that are being closed.
    bool over_limit() const noexcept { return policy_.limit != 0 && live_ + creating_ > policy_.limit; }
    bool may_connect() const noexcept { return policy_.max_connecting == 0 || creating_ < policy_.max_connecting; }
    bool must_close(const SlotCell& cell) const noexcept {
        return closed_ || policy_.limit == 0 || over_limit() || cell.close_on_release.load(std::memory_order_relaxed);
    }
    bool within_barging_window(const Waiter& waiter, Clock::time_point now) const noexcept {
        return waiter.may_be_overtaken_ && now - waiter.since_ < policy_.barging_window;
    }
    bool is_idle(SlotId id) const noexcept {
        return slots_[id].state == SlotState::live && SlotTable::is_idle(table_.cell(id));
    }
    /// `likely` is looked at first: the cells of other slots are in other processors' caches.
    bool has_idle(SlotId likely) const noexcept;
    /// By the time of release as far as it is known; of slots released at the same time, those that this thread used
    /// last come last.
    void order_by_idle_time() noexcept;

    Decision acquire_or_reserve(bool may_wait) noexcept;
    /// `no_memory` when there is none for another slot.
    Decision reserve() noexcept;
    void start_closing(SlotId id) noexcept;
    void evict(SlotId id, CloseReason reason) noexcept;
    void free_slot(SlotId id) noexcept;

    /// Gives free capacity to the waiters in order. An idle slot is handed over when the barging window of the waiter
    /// has passed; before that the waiter is only notified. Capacity to create is always handed over, since it must be
    /// reserved.
    void serve(Clock::time_point now, SlotId likely = no_slot) noexcept;
    /// The first waiter whose deadline has not passed. Those before it are told of their time-out.
    Waiter* first_unexpired(Clock::time_point now) noexcept;
    /// One waiter at a time is notified.
    void notify(Waiter& waiter) noexcept;
    void unlink(Waiter& waiter) noexcept;
    void decide(Waiter& waiter, Decision decision) noexcept;

    bool fast_path_forbidden() const noexcept {
        return closed_ || policy_.limit == 0 || over_limit() || !queue_.empty();
    }
    void update_fast_path() noexcept {
        if (fast_path_forbidden()) table_.disable_fast_path();
    }
    void maybe_enable_fast_path() noexcept;

    static constexpr SlotId no_slot = ~SlotId{0};

    Policy policy_;
    SlotTable& table_;
    std::size_t live_ = 0;
    std::size_t creating_ = 0;
    std::size_t closing_ = 0;
    std::size_t occupied_ = 0;
    bool closed_ = false;
    unsigned uncontended_ = 0;
    std::vector<Slot> slots_;
    std::vector<SlotId> vacant_;
    struct IdleSlot {
        std::int64_t since;  // read once: leases go on writing it
        std::ptrdiff_t recency;
        SlotId slot;
    };
    std::vector<IdleSlot> idle_order_;  // of set_limit()
    WaitQueue queue_;
    Waiter* notified_ = nullptr;
};

}  // namespace kombu::detail
