// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/log.hpp>
#include <kombu/operation.hpp>
#include <kombu/pool/detail/blocked_call.hpp>
#include <kombu/pool/detail/pool_core.hpp>
#include <kombu/pool/detail/pool_counters.hpp>
#include <kombu/pool/detail/pool_upkeep.hpp>
#include <kombu/pool/detail/resize_step.hpp>
#include <kombu/pool/factory.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

template <class T>
class PoolResize;

/// The threaded front of a PoolCore: the fast path, the resources, and the factory, which is never called under the
/// lock. The lock is the slot table's.
///
/// It lives as long as somebody needs it: the pool, a call that waits, a pass of maintenance (`users_`), or a slot that
/// is somebody's (`occupied()`). Whoever ends the last of these deletes it. The lock-free give() touches only the slot
/// and the table, so that it may come after that.
template <class T>
class PoolState final : private SlotOwner, public Maintained {
public:
    PoolState(ResourceFactory<T> factory, PoolOptions options)
        : factory_(std::move(factory)),
          options_(std::move(options)),
          plain_(!factory_.validate && !factory_.prepare && !factory_.prepare_operation && !factory_.recycle &&
                 !options_.observer && !options_.leak_threshold.has_value() && !options_.idle_timeout.has_value() &&
                 !options_.keepalive.has_value()),
          only_looks_(!factory_.prepare && !factory_.prepare_operation && !options_.observer),
          times_idling_(options_.validate_after.has_value() || options_.idle_timeout.has_value() ||
                        options_.keepalive.has_value()),
          limit_(options_.limit),
          core_({options_.limit, options_.max_connecting, patience}, this),
          table_(core_.table()),
          upkeep_(options_) {
        if (is_maintained()) maintenance().add(*this, upkeep_.period());
    }

    /// The same pool in a forked child: of what its parent had, nothing is used.
    PoolState(const PoolState& parents) : PoolState(parents.factory_, parents.options_in_child()) {
        parents_ = &parents;
    }

    bool is_of_this_process() const noexcept { return epoch_ == fork_epoch(); }

    /// The fast path: an idle slot, if there is one to be had without the lock, in whatever process.
    SlotCell* take() noexcept { return table_.take(); }

    Lease<T> lend(SlotCell* taken, const AcquireOptions& options, const std::source_location& site) {
        if (plain_) [[likely]]
            return lend(*taken, site);
        if (only_looks_ && is_alive(*taken)) {
            taken->taken_at.store(coarse_now(), std::memory_order_relaxed);
            return lend(*taken, site);
        }
        return acquire_slowly(taken, options, site);
    }

    __attribute__((noinline)) Lease<T> acquire_slowly(SlotCell* taken, const AcquireOptions& options,
                                                      const std::source_location& site);

    /// What is idle and can be lent as it is; an empty lease otherwise.
    Lease<T> acquire_now(const std::source_location& site) {
        SlotCell* const taken = plain_ || only_looks_ ? take() : nullptr;
        if (!taken) return {};
        if (!plain_ && !is_alive(*taken)) {
            give(*taken);  // for somebody who has the time to replace it
            return {};
        }
        if (!plain_) taken->taken_at.store(coarse_now(), std::memory_order_relaxed);
        return lend(*taken, site);
    }

    Operation<Lease<T>> acquire_operation(AcquireOptions options);

    /// An empty lease when nothing is free.
    Lease<T> try_acquire(const std::source_location& site) try {
        SlotCell* const taken = take();
        return taken ? lend(taken, {}, site) : acquire_slowly(nullptr, {}, site);
    } catch (const LimitExceeded&) {
        return {};
    }

    Lease<T> take_idle(const std::source_location& site) {
        SlotCell* taken = take();
        if (!taken) {
            std::lock_guard lock{table_.mutex()};
            const Decision decision = core_.take_idle();
            if (decision.grant == Grant::use) taken = &table_.cell(decision.slot);
        }
        if (!taken) return {};
        observe([&](PoolObserver& observer) { observer.acquired(options_.name, std::chrono::nanoseconds{0}); });
        return lend(*taken, site);
    }

    /// `discard`: the lessee does not want it kept.
    void give_back(SlotCell& cell, bool discard, bool unwinding) noexcept {
        if (plain_ && !discard && !unwinding && cell.taken_at.load(std::memory_order_relaxed) == 0) [[likely]] {
            const SlotId slot = cell.id.load(std::memory_order_relaxed);
            SlotTable& table = table_;
            if (!table.give(cell)) [[unlikely]]
                table.tell_owner(slot);
        } else {
            give_back_slowly(cell, discard, unwinding);
        }
    }

    /// Takes the resource out of the pool; its slot is free.
    std::shared_ptr<T> detach(SlotCell& cell) noexcept {
        if (table_.abandoned()) return nullptr;
        measure_use(cell);
        std::unique_lock lock{table_.mutex()};
        return free_slot(cell.id.load(std::memory_order_relaxed), std::move(lock));
    }

    std::unique_ptr<ResizeStep> begin_resize(std::size_t limit, const ResizeOptions& options) {
        return std::make_unique<PoolResize<T>>(*this, limit, options);
    }

    void reset(bool close_pool) noexcept {
        std::unique_lock lock{table_.mutex()};
        if (core_.closed() && !close_pool) return;
        Removed removed;
        if (close_pool) removed = take({core_.close(), {}}, CloseReason::pool_closed);  // so that waiters hear of it
        Removed rest = take(core_.reset(now_if_waiting()), close_pool ? CloseReason::pool_closed : CloseReason::reset);
        lock.unlock();
        finish(rest);
        finish(removed);
    }

    void close() noexcept {
        std::unique_lock lock{table_.mutex()};
        if (core_.closed()) return;
        Removed removed = take({core_.close(), {}}, CloseReason::pool_closed);
        lock.unlock();
        finish(removed);
    }

    /// The pool is going away: nobody new comes in.
    void abandon() noexcept {
        if (!is_of_this_process()) return;
        if (is_maintained()) maintenance().remove(*this);
        close();
        leave(std::unique_lock{table_.mutex()});
    }

    /// Fills the pool up to `count` resources, on the caller's thread. Throws what create throws.
    void warm_up(std::size_t count, Deadline deadline, const std::source_location& site);

    /// One pass of what the options ask for beyond lending: closing what is too old or idle too long, keeping alive,
    /// preloading, reporting leaks.
    void maintain(Clock::time_point now);

    // Maintained
    bool enter() noexcept override {
        std::lock_guard lock{table_.mutex()};
        if (core_.closed()) return false;
        ++users_;
        return true;
    }
    void run() noexcept override {
        try {
            maintain(Clock::now());
        } catch (...) {
            log(LogLevel::error, "a pool's maintenance was cut short: out of memory");
        }
        leave(std::unique_lock{table_.mutex()});
    }

    PoolStats stats() const {
        PoolStats stats;
        stats.name = options_.name;
        std::lock_guard lock{table_.mutex()};
        stats.limit = core_.limit();
        stats.connecting = core_.creating();
        stats.closing = core_.closing();
        stats.waiting = core_.waiting();
        stats.idle = core_.idle();
        stats.in_use = core_.live() - stats.idle;
        for (SlotId slot = 0; slot < core_.slots(); ++slot)
            stats.acquired += table_.cell(slot).uses.load(std::memory_order_relaxed);
        counters_.add_to(stats);
        return stats;
    }

    const std::string& name() const noexcept { return options_.name; }

private:
    /// Measured on two cores with holders in I/O: less, and throughput falls to that of a strict queue; more, and the
    /// longest waits grow (bench/RESULTS.md).
    static constexpr Clock::duration patience = std::chrono::microseconds{500};
    static constexpr std::chrono::seconds upkeep_budget{5};

    using Closing = std::pair<std::shared_ptr<T>, CloseReason>;
    struct Removed {
        std::vector<Closing> close{};
        std::vector<std::shared_ptr<T>> interrupt{};
    };

    /// A slot between the decision and the lease. Whatever throws in between, its capacity is freed and a resource it
    /// has is kept.
    class Holding {
    public:
        Holding(PoolState& state, SlotId slot) noexcept : state_(&state), slot_(slot) {}
        Holding(const Holding&) = delete;
        Holding& operator=(const Holding&) = delete;
        ~Holding() {
            if (state_ && state_->is_of_this_process()) state_->put_back(slot_);
        }
        SlotId slot() const noexcept { return slot_; }
        void keep() noexcept { state_ = nullptr; }

    private:
        PoolState* state_;
        SlotId slot_;
    };

    /// Keeps the state alive while a call has no slot.
    class Visit {
    public:
        Visit() = default;
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;
        ~Visit() {
            if (state_ && state_->is_of_this_process()) state_->leave(std::unique_lock{state_->table_.mutex()});
        }
        /// With the lock.
        void begin(PoolState& state) noexcept {
            if (!state_) ++(state_ = &state)->users_;
        }

    private:
        PoolState* state_ = nullptr;
    };

    friend class PoolResize<T>;

    ~PoolState() override = default;

    // -- acquire

    /// The first uses of each slot are timed, then a few, since reading the clock costs more than all the rest.
    static bool is_sampled(std::uint64_t uses) noexcept { return uses <= sampled_first || uses % sample_every == 0; }
    static constexpr std::uint64_t sampled_first = 64, sample_every = 64;
    /// Now and then a thread forgets its slot and starts from the bottom, so that the surplus of a quiet pool is not
    /// kept warm by habit.
    static constexpr std::uint64_t forget_every = 1024;

    Lease<T> lend(SlotCell& cell, const std::source_location& site) noexcept {
        cell.taker.store(site, std::memory_order_relaxed);
        const std::uint64_t uses = cell.uses.load(std::memory_order_relaxed) + 1;
        cell.uses.store(uses, std::memory_order_relaxed);
        if (is_sampled(uses)) [[unlikely]]
            sample(cell, uses);
        return Lease<T>{this, &cell, static_cast<T*>(cell.resource.load(std::memory_order_relaxed))};
    }

    __attribute__((noinline)) void sample(SlotCell& cell, std::uint64_t uses) noexcept {
        cell.taken_at.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
        if (uses % forget_every == 0) table_.forget_recent();
    }

    class WaitingOperation;

    [[noreturn]] void throw_closed() const { throw PoolClosed(display_name() + ": acquire on a closed pool"); }
    [[noreturn]] void throw_inherited() const {
        throw PoolClosed(display_name() + ": the pool belongs to the process that forked this one");
    }
    /// With the lock.
    bool has_too_many_waiters() const noexcept {
        return options_.max_waiters != 0 && core_.waiting() >= options_.max_waiters;
    }

    Decision decide(const Acquisition& acquisition, Clock::time_point start, Visit& visit);

    Decision wait(std::unique_lock<std::mutex>& lock, const Acquisition& acquisition, Clock::time_point start,
                  Visit& visit);

    [[noreturn]] void refuse(std::unique_lock<std::mutex> lock, const Acquisition& acquisition, Clock::time_point start,
                             bool too_many);

    /// Fills a reserved slot, or brings the resource of a used one to life. False when it was dragged away.
    bool make_ready(const Decision& decision, Holding& holding, const Acquisition& acquisition, Visit& visit);

    Lease<T> hand_out(Holding& holding, Clock::time_point start, bool timed, const std::source_location& site) noexcept;

    /// Fills a reserved slot. Throws PoolClosed when the pool was closed meanwhile.
    bool create(Holding& holding, const Acquisition& acquisition, Visit& visit);

    /// A new resource, prepared.
    std::shared_ptr<T> make(const Acquisition& acquisition);

    /// Brings an existing resource to life; a dead one is replaced. False when the slot was dragged away.
    bool prepare(Holding& holding, const Acquisition& acquisition, Visit& visit);

    bool prepare_now(T& resource, const Acquisition& acquisition) const {
        const bool later = acquisition.asynchronous && factory_.prepare_operation;
        return later || !factory_.prepare || factory_.prepare(resource, acquisition);
    }

    static T& resource_of(const SlotCell& cell) noexcept {
        return *static_cast<T*>(cell.resource.load(std::memory_order_relaxed));
    }

    bool is_alive(const SlotCell& cell) const noexcept {
        if (!factory_.validate) return true;
        if (options_.validate_after.has_value() &&
            coarse_now() - cell.returned_at.load(std::memory_order_relaxed) <= options_.validate_after.value().count())
            return true;
        return factory_.lives(resource_of(cell));
    }

    bool is_orphaned(SlotId slot, Visit& visit) {
        std::lock_guard lock{table_.mutex()};
        if (core_.state(slot) != PoolCore::SlotState::orphaned) return false;
        visit.begin(*this);
        return true;
    }

    void note_wait(Clock::duration waited) noexcept {
        counters_.waited(waited);
        observe([&](PoolObserver& observer) { observer.acquired(options_.name, waited); });
    }

    // -- the end of a lease

    __attribute__((noinline)) void give_back_slowly(SlotCell& cell, bool discard, bool unwinding) noexcept;
    void measure_use(SlotCell& cell) noexcept;
    void give(SlotCell& cell) noexcept {
        const SlotId slot = cell.id.load(std::memory_order_relaxed);
        SlotTable& table = table_;
        if (!table.give(cell)) table.tell_owner(slot);
    }
    /// A resource that is not kept is closed before its slot is free, so that never more live than the limit.
    void throw_away(SlotCell& cell, CloseReason why) noexcept;
    std::shared_ptr<T> free_slot(SlotId slot, std::unique_lock<std::mutex> lock) noexcept;
    void settle(SlotId slot, std::unique_lock<std::mutex> lock) noexcept override;
    void put_back(SlotId slot) noexcept;

    // -- the rest

    /// Makes a resource that nobody waits for, and puts it on offer.
    void make_spare(SlotId slot, const Acquisition& acquisition);

    bool preload_one(Clock::time_point now);

    void report_leak(const LeaseSite& lease);

    /// With the lock held: the resources of evicted slots.
    Removed take(const PoolCore::Evicted& evicted, CloseReason why) {
        Removed removed;
        for (SlotId slot : evicted.idle) removed.close.emplace_back(std::move(resources_[slot]), why);
        for (SlotId slot : evicted.leased) removed.interrupt.push_back(resources_[slot]);
        return removed;
    }

    void finish(Removed& removed) noexcept {
        for (auto& resource : removed.interrupt)
            if (factory_.interrupt) factory_.interrupt(*resource);
        for (auto& [resource, why] : removed.close) shut(*resource, why);
        removed = {};
    }

    void shut(T& resource, CloseReason why) noexcept {
        factory_.shut(resource);
        counters_.closed(why);
        observe([&](PoolObserver& observer) { observer.closed(options_.name, why); });
    }

    template <class Tell>
    void observe(Tell tell) noexcept {
        if (!options_.observer) return;
        try {
            tell(*options_.observer);
        } catch (...) {
        }
    }

    bool is_maintained() const noexcept { return options_.maintain_in_background && upkeep_.is_needed(); }

    std::string display_name() const { return options_.name.empty() ? "pool" : options_.name; }

    PoolOptions options_in_child() const {
        PoolOptions options = options_;
        options.limit = limit_.load(std::memory_order_relaxed);
        return options;
    }

    /// Reading the clock is not free (bench/RESULTS.md); only waiters have deadlines to compare it with.
    Clock::time_point now_if_waiting() const noexcept {
        return core_.waiting() != 0 ? Clock::now() : Clock::time_point{};
    }

    void leave(std::unique_lock<std::mutex> lock) noexcept {
        --users_;
        end(std::move(lock));
    }

    /// After anything that may have been the last of what keeps this alive.
    void end(std::unique_lock<std::mutex> lock) noexcept {
        if (users_ != 0 || core_.occupied() != 0) return;
        table_.disown();
        lock.unlock();
        delete this;
    }

    const ResourceFactory<T> factory_;
    const PoolOptions options_;
    const bool plain_;         // nothing to do for a lease but to make it
    const bool only_looks_;    // nothing but to validate before
    const bool times_idling_;  // somebody asks how long a resource was idle
    const std::uint32_t epoch_ = fork_epoch();
    std::atomic<std::size_t> limit_;  // for a forked child, which cannot ask the core
    PoolCore core_;
    SlotTable& table_;
    PoolUpkeep upkeep_;
    std::vector<std::shared_ptr<T>> resources_;
    std::size_t users_ = 1;
    Wakes wakes_;
    PoolCounters counters_;
    std::string last_error_;
    const PoolState* parents_ = nullptr;  // keeps it reachable
};

}  // namespace kombu::detail

#include <kombu/pool/detail/pool_acquire.hpp>
#include <kombu/pool/detail/pool_acquire_operation.hpp>
#include <kombu/pool/detail/pool_maintain.hpp>
#include <kombu/pool/detail/pool_resize.hpp>
#include <kombu/pool/detail/pool_return.hpp>
