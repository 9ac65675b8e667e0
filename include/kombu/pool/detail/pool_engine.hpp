// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/periodic_task.hpp>
#include <kombu/pool/detail/maintenance_policy.hpp>
#include <kombu/pool/detail/pool_core.hpp>
#include <kombu/pool/detail/pool_reporter.hpp>
#include <kombu/pool/detail/resize_participant.hpp>
#include <kombu/pool/detail/resource_hooks.hpp>
#include <kombu/pool/detail/thread_waiter.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

/// A pool without the type of its resources. It holds the lock for PoolCore, keeps the resources, calls the factory
/// without the lock, and makes callers wait. Its lock is the slot table's.
///
/// Life time: it is destroyed when the last of these ends: the pool, a call that waits, a pass of maintenance
/// (`references_`), a slot that is not vacant (`occupied()`). The lock-free release touches only the slot and the
/// table, so it may come after that.
class KOMBU_EXPORT PoolEngine final : private SlotListener, public PeriodicTask {
public:
    PoolEngine(std::shared_ptr<const ResourceHooks> hooks, PoolOptions options);
    PoolEngine(const PoolEngine&) = delete;
    PoolEngine& operator=(const PoolEngine&) = delete;

    /// The same pool in a forked child, empty. Uses nothing that a thread of the parent may have been changing.
    PoolEngine* make_for_child() const;
    bool is_of_this_process() const noexcept { return epoch_ == fork_epoch(); }

    // -- acquire: each returns a slot that the caller has leased

    /// The fast path: an idle slot without the lock, in whatever process. Pass the result to complete_acquire().
    SlotCell* try_acquire_slot() noexcept { return table_.try_acquire(); }

    SlotCell* complete_acquire(SlotCell* acquired, const AcquireOptions& options, const std::source_location& site) {
        if (has_no_hooks_) [[likely]]
            return record_acquire(*acquired, site);
        if (acquires_at_once_ && make_ready_at_once(*acquired, site, coarse_now()))
            return record_acquire(*acquired, site);
        return acquire_slow_path(acquired, options, site);
    }

    /// `acquired`: a slot of try_acquire_slot(), or null.
    SlotCell* acquire_slow_path(SlotCell* acquired, const AcquireOptions& options, const std::source_location& site);

    /// A slot that was leased, for acquiring it again without the pool, which may have ceased to exist.
    struct PastLease {
        PoolEngine* engine = nullptr;
        SlotTable* table = nullptr;
        SlotCell* cell = nullptr;
        std::uint64_t idle = 0;
    };
    /// `leased`: by the caller.
    PastLease remember(SlotCell& leased) noexcept {
        return acquires_at_once_ ? PastLease{this, &table_, &leased, SlotTable::idle_word_of(leased)} : PastLease{};
    }
    /// Null unless the same slot is idle, and its resource needs no more than try_acquire_idle() does.
    /// `now`: of the coarse clock.
    static SlotCell* try_acquire_again(const PastLease& past, const std::source_location& site, std::int64_t now) {
        if (!past.cell || !past.table->try_acquire(*past.cell, past.idle)) return nullptr;
        // The slot keeps the engine alive.
        if (past.engine->make_ready_at_once(*past.cell, site, now))
            return past.engine->record_acquire(*past.cell, site);
        past.engine->give_back_unready(*past.cell);
        return nullptr;
    }

    /// An idle resource that is ready without a wait; null otherwise. Never waits and never creates.
    SlotCell* try_acquire_idle(const std::source_location& site);
    /// An idle resource, neither validated nor prepared; null when there is none.
    SlotCell* acquire_idle(const std::source_location& site);

    // -- the end of a lease

    /// `discard`: the resource is not to be kept.
    void release(SlotCell& cell, bool discard, bool unwinding) noexcept {
        if (has_no_hooks_ && !discard && !unwinding && cell.acquired_at.load(std::memory_order_relaxed) == 0)
            [[likely]] {
            release_slot(cell);
        } else {
            release_slow_path(cell, discard, unwinding);
        }
    }

    /// Removes the resource from the pool. Its slot is vacant afterwards.
    std::shared_ptr<void> detach(SlotCell& cell) noexcept;

    // -- the pool as a whole

    std::unique_ptr<ResizeParticipant> make_resize_participant(std::size_t limit, const ResizeOptions& options);
    void reset(bool close_pool) noexcept;
    void close() noexcept;
    /// Waits until no slot of the closed pool is leased, or the pool is open again.
    /// \return the number of leases that are not back by the deadline
    std::size_t wait_for_leases(Deadline deadline);
    /// Closes the idle resources for which `predicate` returns true, and returns their number.
    std::size_t evict_if(const std::function<bool(void*)>& predicate);
    /// Ends the pool object's reference.
    void release_pool() noexcept;
    void warm_up(std::size_t count, Deadline deadline, const std::source_location& site);
    void maintain(Clock::time_point now);
    PoolStats stats() const;
    const std::string& name() const noexcept { return options_.name; }
    const ResourceHooks& hooks() const noexcept { return *hooks_; }

    // PeriodicTask
    bool try_retain() noexcept override;
    void run() noexcept override;

private:
    friend class PoolResizeParticipant;
    friend class PoolMaintainer;
    friend class AsyncAcquire;

    /// A slot between the decision and the lease. When an exception ends it, the capacity of the slot is freed, and a
    /// resource in it goes back to the pool.
    class SlotReservation {
    public:
        SlotReservation(PoolEngine& engine, SlotId slot) noexcept : engine_(&engine), slot_(slot) {}
        SlotReservation(const SlotReservation&) = delete;
        SlotReservation& operator=(const SlotReservation&) = delete;
        ~SlotReservation() {
            if (engine_ && engine_->is_of_this_process()) engine_->return_reservation(slot_);
        }
        SlotId slot() const noexcept { return slot_; }
        bool is_held() const noexcept { return engine_ != nullptr; }
        void dismiss() noexcept { engine_ = nullptr; }

    private:
        PoolEngine* engine_;
        SlotId slot_;
    };

    /// Keeps the engine alive while a call has no slot.
    class EngineRef {
    public:
        EngineRef() = default;
        EngineRef(const EngineRef&) = delete;
        EngineRef& operator=(const EngineRef&) = delete;
        ~EngineRef() {
            if (engine_ && engine_->is_of_this_process()) engine_->drop_reference(engine_->lock());
        }
        /// With the lock. A second call has no effect.
        void retain(PoolEngine& engine) noexcept {
            if (!engine_) ++(engine_ = &engine)->references_;
        }
        /// With the lock. From here on a slot of the call keeps the engine alive.
        void release_beside_slot() noexcept {
            if (engine_) --std::exchange(engine_, nullptr)->references_;
        }

    private:
        PoolEngine* engine_ = nullptr;
    };

    ~PoolEngine() override = default;

    std::unique_lock<std::mutex> lock() const { return std::unique_lock{table_.mutex()}; }

    // -- the fast path

    /// The first leases of each slot are timed, then one in 64, since reading the clock costs more than all the rest.
    static bool is_sampled(std::uint64_t uses) noexcept { return uses <= sampled_first || uses % sample_every == 0; }
    static constexpr std::uint64_t sampled_first = 64, sample_every = 64;
    /// After so many uses of a slot its thread starts from the lowest slot again. Otherwise the recent slots of threads
    /// would keep a surplus in use.
    static constexpr std::uint64_t forget_every = 1024;
    static_assert(forget_every % sample_every == 0, "the release of other uses is not looked at");

    SlotCell* record_acquire(SlotCell& cell, const std::source_location& site) noexcept {
        cell.acquired_from.store(site, std::memory_order_relaxed);
        const std::uint64_t uses = cell.uses.load(std::memory_order_relaxed) + 1;
        cell.uses.store(uses, std::memory_order_relaxed);
        if (is_sampled(uses)) [[unlikely]]
            start_sample(cell);
        return &cell;
    }
    static void start_sample(SlotCell& cell) noexcept;

    static void* resource_of(const SlotCell& cell) noexcept { return cell.resource.load(std::memory_order_relaxed); }
    bool is_valid(const SlotCell& cell, std::int64_t now) const noexcept {
        if (!hooks_->has.validate) return true;
        if (options_.validate_after.has_value() &&
            now - cell.released_at.load(std::memory_order_relaxed) <= options_.validate_after.value().count())
            return true;
        return hooks_->validate(resource_of(cell));
    }
    /// Whether the resource of a slot that the caller has leased can be used, after a try_prepare() if need be.
    bool make_ready_at_once(SlotCell& cell, const std::source_location& site, std::int64_t now) const noexcept {
        cell.acquired_at.store(now, std::memory_order_relaxed);  // first: maintenance may look
        if (!is_valid(cell, now)) return false;
        if (hooks_->has.try_prepare && !hooks_->try_prepare(resource_of(cell), site, now)) return false;
        if (table_.is_current(cell)) [[likely]]
            return true;
        // A reset came between. What was prepared, it came too early to interrupt.
        if (hooks_->has.try_prepare) hooks_->recycle(resource_of(cell), false);
        return false;
    }
    /// The same for a decision: false for a slot without a resource.
    bool is_ready_at_once(const Decision& decision, const std::source_location& site) const noexcept {
        return decision.outcome == AcquireOutcome::use && acquires_at_once_ &&
               make_ready_at_once(table_.cell(decision.slot), site, coarse_now());
    }
    /// A caller that may wait and create will prepare the resource, or replace it.
    void give_back_unready(SlotCell& cell) noexcept {
        cell.acquired_at.store(0, std::memory_order_relaxed);
        release_slot(cell);
    }
    void release_slot(SlotCell& cell) noexcept {
        const SlotId slot = cell.id.load(std::memory_order_relaxed);
        SlotTable& table = table_;
        if (!table.release(cell)) [[unlikely]]
            table.notify_listener(slot);
    }

    // -- acquire

    Decision decide(const Acquisition& acquisition, Clock::time_point start, EngineRef& reference);
    /// So that the ages of leases are known that nobody has measured.
    void observe_leases(Clock::time_point now) {
        if (has_no_hooks_) maintenance_.observe(core_, now);
    }
    Decision wait(std::unique_lock<std::mutex>& lock, const Acquisition& acquisition, Clock::time_point start,
                  EngineRef& reference);
    bool has_too_many_waiters() const noexcept {
        return options_.max_waiters != 0 && core_.waiting() >= options_.max_waiters;
    }
    [[noreturn]] void throw_limit_exceeded(std::unique_lock<std::mutex> lock, const Acquisition& acquisition,
                                           Clock::time_point start, bool too_many_waiters);
    [[noreturn]] void throw_closed() const;
    [[noreturn]] void throw_inherited() const;
    /// After a call of the user's functions, which may have forked.
    void check_process() const;
    /// Creates the resource of a reserved slot, or prepares that of a used one. False when it was orphaned meanwhile.
    /// `start`: of the call.
    bool make_ready(const Decision& decision, SlotReservation& reservation, const Acquisition& acquisition,
                    Clock::time_point start, EngineRef& reference);
    /// Fills a reserved slot. Throws PoolClosed when the pool was closed meanwhile.
    bool create(SlotReservation& reservation, const Acquisition& acquisition, Clock::time_point start,
                EngineRef& reference);
    std::shared_ptr<void> create_resource(const Acquisition& acquisition);
    std::shared_ptr<void> create_prepared(const Acquisition& acquisition);
    /// Prepares an existing resource, or replaces a dead one. False when the slot was orphaned meanwhile.
    bool prepare(SlotReservation& reservation, const Acquisition& acquisition, Clock::time_point start,
                 EngineRef& reference);
    /// The resource of a slot in state `closing` no longer exists.
    void finish_closing(SlotReservation& reservation) noexcept;
    bool prepare_now(void* resource, const Acquisition& acquisition) const {
        return (acquisition.asynchronous && hooks_->has.async_prepare) || hooks_->prepare(resource, acquisition);
    }
    bool is_orphaned(SlotId slot, EngineRef& reference);
    SlotCell* commit(SlotReservation& reservation, Clock::time_point start, bool timed,
                     const std::source_location& site) noexcept;

    // -- release

    void release_slow_path(SlotCell& cell, bool discard, bool unwinding) noexcept;
    void measure_use(SlotCell& cell) noexcept;
    /// Closes the resource before its slot is vacant, so that the limit bounds the living resources at all times.
    void close_and_free(SlotCell& cell, CloseReason reason) noexcept;
    void on_slot_released(SlotId slot, std::unique_lock<std::mutex> lock) noexcept override;
    void return_reservation(SlotId slot) noexcept;

    // -- maintenance

    bool needs_background_maintenance() const noexcept {
        return options_.maintain_in_background && maintenance_.is_needed();
    }

    // -- the rest

    /// Interrupts, then closes, what the core has evicted. Needs no memory. The caller keeps the engine alive.
    void close_evicted() noexcept;
    void process_evictions(PoolCore::Eviction eviction) noexcept;
    /// A slot became vacant, or idle on a closed pool.
    void notify_drained() noexcept {
        if (drain_waiters_ != 0) drained_.notify_all();
    }
    void close_resource(void* resource, CloseReason reason) noexcept;
    /// Reads the clock only when there are deadlines to compare it with: it is not free (bench/RESULTS.md).
    Clock::time_point now_if_waiting() const noexcept {
        return core_.waiting() != 0 ? Clock::now() : Clock::time_point{};
    }
    void drop_reference(std::unique_lock<std::mutex> lock) noexcept;
    /// After anything that may have ended the last reference.
    void destroy_if_unreferenced(std::unique_lock<std::mutex> lock) noexcept;

    const std::shared_ptr<const ResourceHooks> hooks_;
    const PoolOptions options_;
    const bool has_no_hooks_;       // an acquire has nothing to call and nothing to measure
    const bool acquires_at_once_;   // an acquire of an idle resource may do with `validate` and `try_prepare`
    const bool records_idle_time_;  // an option asks how long a resource was idle
    const std::uint32_t epoch_ = fork_epoch();
    std::atomic<std::size_t> limit_;  // for a forked child, which cannot ask the core
    PoolCore core_;
    SlotTable& table_;
    mutable MaintenancePolicy maintenance_;  // stats() looks at the leases
    PoolReporter reporter_;
    std::vector<std::shared_ptr<void>> resources_;
    std::size_t references_ = 1;
    WakeBatch wakes_;
    std::string last_error_;
    std::condition_variable drained_;
    std::size_t drain_waiters_ = 0;
    const PoolEngine* inherited_ = nullptr;  // the parent's, kept reachable
};

}  // namespace kombu::detail
