// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/log.hpp>
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
          plain_(!factory_.validate && !factory_.prepare && !factory_.recycle && !options_.observer &&
                 !options_.leak_threshold.has_value() && !options_.idle_timeout.has_value() &&
                 !options_.keepalive.has_value()),
          only_looks_(!factory_.prepare && !options_.observer),
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

    /// An empty lease when nothing is free.
    Lease<T> try_acquire(const std::source_location& site) try {
        SlotCell* const taken = take();
        return taken ? lend(taken, {}, site) : acquire_slowly(nullptr, {}, site);
    } catch (const LimitExceeded&) {
        return {};
    }

    Lease<T> take_idle(const std::source_location& site) {
        if (SlotCell* const taken = take()) return lend(*taken, site);
        std::lock_guard lock{table_.mutex()};
        const Decision decision = core_.take_idle();
        return decision.grant == Grant::use ? lend(table_.cell(decision.slot), site) : Lease<T>{};
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
        return std::make_unique<Resize>(*this, limit, options);
    }

    void reset(bool close_pool) noexcept {
        std::unique_lock lock{table_.mutex()};
        if (core_.closed()) return;
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
    void warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
        const Acquisition acquisition{deadline, false, true, site};
        for (;;) {
            Decision decision;
            {
                std::lock_guard lock{table_.mutex()};
                if (core_.closed()) throw PoolClosed(display_name() + ": warm_up on a closed pool");
                if (core_.used() >= count) return;
                decision = core_.reserve_spare(false);
            }
            if (decision.grant != Grant::create) return;
            if (deadline.expired()) {
                put_back(decision.slot);
                throw Timeout(display_name() + ": warm_up did not make " + std::to_string(count) + " in time", false);
            }
            make_spare(decision.slot, acquisition);
        }
    }

    /// One pass of what the options ask for beyond lending: closing what is too old or idle too long, keeping alive,
    /// preloading, reporting leaks.
    void maintain(Clock::time_point now) {
        std::unique_lock lock{table_.mutex()};
        ++users_;
        const UpkeepPlan plan = upkeep_.plan(core_, now);
        Removed removed;
        for (const auto& [slot, why] : plan.close) removed.close.emplace_back(std::move(resources_[slot]), why);
        std::vector<std::shared_ptr<T>> alive;
        for (const SlotId slot : plan.keep_alive) alive.push_back(resources_[slot]);
        lock.unlock();

        for (const LeaseSite& leak : plan.leaks) report_leak(leak);
        finish(removed);
        lock.lock();
        for (const auto& [slot, why] : plan.close) core_.closed(slot, now_if_waiting());
        lock.unlock();
        for (std::size_t i = 0; i < alive.size(); ++i) {
            SlotCell& cell = table_.cell(plan.keep_alive[i]);
            if (factory_.kept_alive(*alive[i], Deadline::after(upkeep_budget)))
                give(cell);
            else
                throw_away(cell, CloseReason::dead);
        }
        alive.clear();
        for (std::size_t i = 0; i < plan.preload; ++i)
            if (!preload_one(now)) break;
        leave(std::unique_lock{table_.mutex()});
    }

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
            if (state_) state_->put_back(slot_);
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
            if (state_) state_->leave(std::unique_lock{state_->table_.mutex()});
        }
        /// With the lock.
        void begin(PoolState& state) noexcept {
            if (!state_) ++(state_ = &state)->users_;
        }

    private:
        PoolState* state_ = nullptr;
    };

    /// A thread that waits. What is decided about it is read without the lock.
    class BlockedCall final : public Waiter {
    public:
        BlockedCall(PoolState& state, Clock::time_point since, Deadline deadline) noexcept
            : Waiter(since, deadline.when()), state_(state) {}

        void wake() noexcept override {
            PoolState& state = state_;
            // With a decision the call may be over at once: only the address counts after this.
            woken_.store(decision.grant == Grant::none ? poked : decided, std::memory_order_release);
            state.wake(&woken_);
        }

        enum Woken : std::uint32_t { too_late, poked, decided };
        /// Without the lock.
        Woken wait(Deadline deadline) noexcept {
            const std::int64_t when =
                deadline.is_never() ? -1 : std::max<std::int64_t>(deadline.when().time_since_epoch().count(), 0);
            for (;;) {
                const auto woken = static_cast<Woken>(woken_.load(std::memory_order_acquire));
                if (woken != too_late || deadline.expired()) return woken;
                futex_wait(woken_, when);
            }
        }
        /// With the lock: from now on wait() waits again.
        void wait_again() noexcept { woken_.store(0, std::memory_order_relaxed); }

    private:
        PoolState& state_;
        std::atomic<std::uint32_t> woken_{0};
    };

    class Resize final : public ResizeStep {
    public:
        Resize(PoolState& state, std::size_t limit, const ResizeOptions& options)
            : state_(state), limit_(limit), options_(options), lock_(state.table_.mutex(), std::defer_lock) {}
        Resize(const Resize&) = delete;
        Resize& operator=(const Resize&) = delete;
        ~Resize() override {
            if (!entered_) return;
            if (!lock_.owns_lock()) lock_.lock();
            state_.leave(std::move(lock_));
        }
        void lock() override {
            lock_.lock();
            ++state_.users_;  // the pool may be destroyed between unlock() and finish()
            entered_ = true;
        }
        const void* place() const noexcept override { return lock_.mutex(); }
        void check() const override {
            const PoolCore& core = state_.core_;
            if (core.closed() || core.may_resize(limit_, options_)) return;
            throw PoolInUse(state_.display_name() + ": cannot shrink while in use: limit " +
                            std::to_string(core.limit()) + ", wanted " + std::to_string(limit_) + ", in use " +
                            std::to_string(core.used() - core.idle()));
        }
        void apply() override {
            if (state_.core_.closed()) return;
            const bool drags = options_.reset || options_.force;
            state_.limit_.store(limit_, std::memory_order_relaxed);
            removed_ = state_.take(state_.core_.set_limit(limit_, options_, state_.now_if_waiting()),
                                   drags ? CloseReason::reset : CloseReason::surplus);
        }
        void unlock() noexcept override {
            if (lock_.owns_lock()) lock_.unlock();
        }
        void finish() noexcept override { state_.finish(removed_); }

    private:
        PoolState& state_;
        std::size_t limit_;
        ResizeOptions options_;
        std::unique_lock<std::mutex> lock_;
        bool entered_ = false;
        Removed removed_;
    };

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

    Decision decide(const Acquisition& acquisition, Clock::time_point start, Visit& visit) {
        std::unique_lock lock{table_.mutex()};
        Decision decision = core_.acquire(start, acquisition.block);
        bool too_many = false;
        if (decision.grant == Grant::full && acquisition.block) {
            too_many = options_.max_waiters != 0 && core_.waiting() >= options_.max_waiters;
            if (!too_many) decision = wait(lock, acquisition, start, visit);
        }
        switch (decision.grant) {
            case Grant::closed: throw PoolClosed(display_name() + ": acquire on a closed pool");
            case Grant::timed_out:
            case Grant::full: visit.begin(*this); refuse(std::move(lock), acquisition, start, too_many);
            default: return decision;
        }
    }

    Decision wait(std::unique_lock<std::mutex>& lock, const Acquisition& acquisition, Clock::time_point start,
                  Visit& visit) {
        visit.begin(*this);
        upkeep_.observe(core_, start);
        BlockedCall call{*this, start, acquisition.deadline};
        if (const Decision at_once = core_.enqueue(call); at_once.grant != Grant::none) return at_once;
        for (;;) {
            lock.unlock();
            const auto woken = call.wait(acquisition.deadline);
            if (woken == BlockedCall::decided) return call.decision;  // for which nobody needs the lock
            lock.lock();
            if (woken == BlockedCall::too_late && core_.abandon(call, Clock::now())) return {Grant::timed_out};
            call.wait_again();  // before retry(), which may poke it once more
            if (call.decision.grant == Grant::none) core_.retry(call, Clock::now());
            if (call.decision.grant != Grant::none) return call.decision;
        }
    }

    [[noreturn]] void refuse(std::unique_lock<std::mutex> lock, const Acquisition& acquisition, Clock::time_point start,
                             bool too_many) {
        if (!lock.owns_lock()) lock.lock();
        const auto now = Clock::now();
        const std::size_t idle = core_.idle();
        LimitReport report;
        report.pool = options_.name;
        report.noun = factory_.noun;
        report.limit = core_.limit();
        report.in_use = core_.live() - idle;
        report.idle = idle;
        report.connecting = core_.creating();
        report.waiting = core_.waiting();
        report.max_waiters = too_many ? options_.max_waiters : 0;
        report.blocked = acquisition.block;
        report.waited = acquisition.block ? now - start : Clock::duration{0};
        report.oldest_lease = upkeep_.oldest_lease(core_, now);
        report.last_error = last_error_;
        lock.unlock();
        counters_.timed_out();
        if (report.last_error.empty() && factory_.last_error) report.last_error = factory_.last_error();
        observe([&](PoolObserver& observer) { observer.limit_exceeded(report); });
        factory_.limit_exceeded(std::move(report));
    }

    /// Fills a reserved slot. Throws PoolClosed when the pool was closed meanwhile.
    bool create(Holding& holding, const Acquisition& acquisition, Visit& visit) {
        for (;;) {
            std::shared_ptr<T> fresh = make(acquisition);
            std::unique_lock lock{table_.mutex()};
            const SlotId slot = holding.slot();
            // The slot may be gone after created(), and with it what keeps this alive.
            visit.begin(*this);
            if (resources_.size() <= slot) resources_.resize(core_.slots());
            const auto outcome = core_.created(slot, now_if_waiting(), fresh.get());
            if (outcome == PoolCore::Created::leased) {
                upkeep_.born(slot, Clock::now());
                resources_[slot] = std::move(fresh);
                return true;
            }
            lock.unlock();
            shut(*fresh, outcome == PoolCore::Created::closed ? CloseReason::pool_closed : CloseReason::reset);
            if (outcome == PoolCore::Created::closed) {
                holding.keep();
                throw PoolClosed(display_name() + ": closed while a " + factory_.noun + " was being created");
            }
        }
    }

    /// A new resource, prepared.
    std::shared_ptr<T> make(const Acquisition& acquisition) {
        const auto start = Clock::now();
        std::shared_ptr<T> fresh;
        try {
            fresh = factory_.create(acquisition);
            if (!fresh) throw Error("the factory of the pool made nothing");
        } catch (const std::exception& error) {
            counters_.create_failed();
            observe([&](PoolObserver& observer) { observer.create_failed(options_.name, error); });
            throw;
        } catch (...) {
            counters_.create_failed();
            throw;
        }
        const auto took = Clock::now() - start;
        counters_.created(took);
        observe([&](PoolObserver& observer) { observer.created(options_.name, took); });
        try {
            if (!acquisition.ahead && factory_.prepare && !factory_.prepare(*fresh, acquisition))
                throw OperationalError("a new resource of the pool was not usable");
        } catch (...) {
            shut(*fresh, CloseReason::unprepared);
            throw;
        }
        return fresh;
    }

    /// Brings an existing resource to life; a dead one is replaced. False when the slot was dragged away.
    bool prepare(Holding& holding, const Acquisition& acquisition, Visit& visit) {
        SlotCell& cell = table_.cell(holding.slot());
        T& resource = *static_cast<T*>(cell.resource.load(std::memory_order_relaxed));
        if (is_alive(cell) && (!factory_.prepare || factory_.prepare(resource, acquisition))) return true;
        shut(resource, CloseReason::dead);
        std::unique_lock lock{table_.mutex()};
        visit.begin(*this);
        std::shared_ptr<T> gone = std::move(resources_[holding.slot()]);
        const bool is_ours = core_.recreate(holding.slot(), now_if_waiting());
        lock.unlock();
        gone.reset();
        if (is_ours) return create(holding, acquisition, visit);
        holding.keep();
        return false;
    }

    bool is_alive(const SlotCell& cell) const noexcept {
        if (!factory_.validate) return true;
        if (options_.validate_after.has_value() &&
            coarse_now() - cell.returned_at.load(std::memory_order_relaxed) <= options_.validate_after.value().count())
            return true;
        return factory_.lives(*static_cast<T*>(cell.resource.load(std::memory_order_relaxed)));
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

    __attribute__((noinline)) void give_back_slowly(SlotCell& cell, bool discard, bool unwinding) noexcept {
        if (table_.abandoned()) return;
        T& resource = *static_cast<T*>(cell.resource.load(std::memory_order_relaxed));
        measure_use(cell);
        if (discard || !factory_.keeps(resource, unwinding)) return throw_away(cell, CloseReason::discarded);
        if (times_idling_) cell.returned_at.store(coarse_now(), std::memory_order_relaxed);
        give(cell);
    }

    void measure_use(SlotCell& cell) noexcept {
        const std::int64_t since = cell.taken_at.load(std::memory_order_relaxed);
        cell.taken_at.store(0, std::memory_order_relaxed);
        const std::uint64_t uses = cell.uses.load(std::memory_order_relaxed);
        const bool sampled = is_sampled(uses);
        if (since == 0 || (!sampled && !options_.observer)) return;
        const std::chrono::nanoseconds used{Clock::now().time_since_epoch().count() - since};
        if (sampled) counters_.used(used, uses <= sampled_first ? 1 : sample_every);
        observe([&](PoolObserver& observer) { observer.released(options_.name, used); });
    }

    void give(SlotCell& cell) noexcept {
        const SlotId slot = cell.id.load(std::memory_order_relaxed);
        SlotTable& table = table_;
        if (!table.give(cell)) table.tell_owner(slot);
    }

    /// A resource that is not kept is closed before its slot is free, so that never more live than the limit.
    void throw_away(SlotCell& cell, CloseReason why) noexcept {
        shut(*static_cast<T*>(cell.resource.load(std::memory_order_relaxed)), why);
        free_slot(cell.id.load(std::memory_order_relaxed), std::unique_lock{table_.mutex()});
    }

    std::shared_ptr<T> free_slot(SlotId slot, std::unique_lock<std::mutex> lock) noexcept {
        std::shared_ptr<T> gone = std::move(resources_[slot]);
        core_.discard(slot, now_if_waiting());
        end(std::move(lock));
        return gone;
    }

    /// With the lock. The first of those that settle() wakes is woken when the lock is free.
    void wake(const void* word) noexcept {
        if (defers_wake_ && !wake_later_)
            wake_later_ = word;
        else
            futex_wake(word);
    }

    void settle(SlotId slot, std::unique_lock<std::mutex> lock) noexcept override {
        CloseReason why = CloseReason::surplus;
        if (slot < core_.slots()) {
            if (table_.cell(slot).retire.load(std::memory_order_relaxed)) why = CloseReason::max_lifetime;
            if (core_.state(slot) == PoolCore::SlotState::orphaned) why = CloseReason::reset;
            if (core_.closed()) why = CloseReason::pool_closed;
        }
        defers_wake_ = true;
        const auto returned = core_.settle(slot, now_if_waiting());
        defers_wake_ = false;
        const void* const word = std::exchange(wake_later_, nullptr);
        if (returned == PoolCore::Returned::close) {
            std::shared_ptr<T> gone = std::move(resources_[slot]);
            lock.unlock();
            shut(*gone, why);
            gone.reset();
            lock.lock();
            core_.closed(slot, now_if_waiting());
        }
        end(std::move(lock));
        if (word) futex_wake(word);
    }

    void put_back(SlotId slot) noexcept {
        std::unique_lock lock{table_.mutex()};
        if (core_.state(slot) == PoolCore::SlotState::creating) {
            core_.create_failed(slot, now_if_waiting());
            return end(std::move(lock));
        }
        lock.unlock();
        give(table_.cell(slot));
    }

    // -- the rest

    /// Makes a resource that nobody waits for, and puts it on offer.
    void make_spare(SlotId slot, const Acquisition& acquisition) {
        Visit visit;
        Holding holding{*this, slot};  // puts it on offer at the end
        create(holding, acquisition, visit);
    }

    bool preload_one(Clock::time_point now) {
        Decision decision;
        {
            std::lock_guard lock{table_.mutex()};
            decision = core_.reserve_spare(true);
        }
        if (decision.grant != Grant::create) return false;
        try {
            make_spare(decision.slot, {Deadline::after(upkeep_budget), false, true, {}});
            std::lock_guard lock{table_.mutex()};
            upkeep_.preload_worked();
            return true;
        } catch (const std::exception& error) {
            {
                std::lock_guard lock{table_.mutex()};
                upkeep_.preload_failed(now);
                last_error_ = error.what();
            }
            if (is_logging()) log(LogLevel::warning, display_name() + ": preload failed: " + error.what());
        } catch (...) {
            std::lock_guard lock{table_.mutex()};
            upkeep_.preload_failed(now);
        }
        return false;
    }

    void report_leak(const LeaseSite& lease) {
        counters_.leaked();
        if (is_logging()) log(LogLevel::warning, display_name() + ": a lease has lasted " + lease.describe());
        observe([&](PoolObserver& observer) { observer.leaked({options_.name, lease}); });
    }

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

    /// A clock reading costs as much as the whole cycle; only waiters have deadlines to compare it with.
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
    bool defers_wake_ = false;
    const void* wake_later_ = nullptr;
    PoolCounters counters_;
    std::string last_error_;
    const PoolState* parents_ = nullptr;  // keeps it reachable
};

template <class T>
Lease<T> PoolState<T>::acquire_slowly(SlotCell* taken, const AcquireOptions& options,
                                      const std::source_location& site) {
    const bool timed = !taken || options_.observer;
    const auto start = timed ? Clock::now() : Clock::time_point{};
    const Acquisition acquisition{!options.timeout.has_value() ? Deadline::never() : Deadline::after(options.timeout),
                                  options.block, false, site};
    Visit visit;
    for (;;) {
        const Decision decision =
            taken ? Decision{Grant::use, std::exchange(taken, nullptr)->id.load(std::memory_order_relaxed)}
                  : decide(acquisition, start, visit);
        Holding holding{*this, decision.slot};
        SlotCell& cell = table_.cell(decision.slot);
        try {
            const bool ready = decision.grant == Grant::create ? create(holding, acquisition, visit)
                                                               : prepare(holding, acquisition, visit);
            if (!ready) continue;
            // Dragged away by a reset while it was being prepared: it goes, and the caller gets another.
            if (!table_.is_current(cell) && is_orphaned(decision.slot, visit)) continue;
        } catch (const LimitExceeded&) {
            throw;  // nested pools: the inner one has said it all
        } catch (const std::exception& error) {
            std::lock_guard lock{table_.mutex()};
            last_error_ = error.what();
            throw;
        }
        holding.keep();
        if (timed) note_wait(Clock::now() - start);
        Lease<T> lease = lend(cell, site);
        if (!plain_ && cell.taken_at.load(std::memory_order_relaxed) == 0)
            cell.taken_at.store(options_.observer ? Clock::now().time_since_epoch().count() : coarse_now(),
                                std::memory_order_relaxed);
        return lease;
    }
}

}  // namespace kombu::detail
