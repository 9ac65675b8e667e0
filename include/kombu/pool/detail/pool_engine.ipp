// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/periodic_thread.hpp>
#include <kombu/error.hpp>
#include <kombu/log.hpp>
#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/detail/pool_maintainer.hpp>
#include <kombu/pool/detail/pool_resize.hpp>

#include <algorithm>
#include <chrono>
#include <new>

namespace kombu::detail {

/// Measured on two cores with holders in I/O: with a shorter window throughput falls to that of a strict queue, with a
/// longer one the longest waits grow (bench/RESULTS.md).
inline constexpr std::chrono::microseconds barging_window{500};

KOMBU_POOL_INLINE PoolEngine::PoolEngine(std::shared_ptr<const ResourceHooks> hooks, PoolOptions options)
    : hooks_(std::move(hooks)),
      options_(std::move(options)),
      has_no_hooks_(!hooks_->has.validate && !hooks_->has.prepare && !hooks_->has.async_prepare &&
                    !hooks_->has.recycle && !options_.observer && !options_.leak_threshold.has_value() &&
                    !options_.idle_timeout.has_value() && !options_.keepalive.has_value()),
      acquires_at_once_(!options_.observer &&
                        (hooks_->has.try_prepare || (!hooks_->has.prepare && !hooks_->has.async_prepare))),
      records_idle_time_(options_.validate_after.has_value() || options_.idle_timeout.has_value() ||
                         options_.keepalive.has_value()),
      limit_(options_.limit),
      core_({options_.limit, options_.max_connecting, barging_window}, this),
      table_(core_.table()),
      maintenance_(options_),
      reporter_(options_) {
    if (needs_background_maintenance()) maintenance_thread().add(*this, maintenance_.period());
}

KOMBU_POOL_INLINE PoolEngine* PoolEngine::make_for_child() const {
    PoolOptions options = options_;
    options.limit = limit_.load(std::memory_order_relaxed);
    auto* const made = new PoolEngine(hooks_, std::move(options));
    made->inherited_ = this;
    return made;
}

KOMBU_POOL_INLINE void PoolEngine::throw_closed() const {
    throw PoolClosed(reporter_.display_name() + ": acquire on a closed pool");
}

KOMBU_POOL_INLINE void PoolEngine::check_process() const {
    if (!is_of_this_process()) throw_inherited();
}

KOMBU_POOL_INLINE void PoolEngine::throw_inherited() const {
    throw PoolClosed(reporter_.display_name() + ": the pool belongs to the parent process");
}

// -- acquire

KOMBU_POOL_INLINE void PoolEngine::start_sample(SlotCell& cell) noexcept {
    cell.acquired_at.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
}

KOMBU_POOL_INLINE SlotCell* PoolEngine::acquire_slow_path(SlotCell* acquired, const AcquireOptions& options,
                                                          const std::source_location& site) {
    const bool timed = !acquired || options_.observer;
    auto start = timed ? Clock::now() : Clock::time_point{};
    const Acquisition acquisition{!options.timeout.has_value() ? Deadline::never() : Deadline::after(options.timeout),
                                  options.block, false, site};
    EngineRef reference;
    for (;;) {
        if (!acquired && start == Clock::time_point{}) start = Clock::now();  // the slot of the fast path was lost
        const bool is_unready = acquired != nullptr;
        const Decision decision =
            acquired
                ? Decision{AcquireOutcome::use, std::exchange(acquired, nullptr)->id.load(std::memory_order_relaxed)}
                : decide(acquisition, start, reference);
        SlotReservation reservation{*this, decision.slot};
        if (!is_unready && is_ready_at_once(decision, site)) return commit(reservation, start, timed, site);
        if (make_ready(decision, reservation, acquisition, start, reference))
            return commit(reservation, start, timed, site);
    }
}

KOMBU_POOL_INLINE SlotCell* PoolEngine::try_acquire_idle(const std::source_location& site) {
    SlotCell* const acquired = acquires_at_once_ ? try_acquire_slot() : nullptr;
    if (!acquired) return nullptr;
    if (has_no_hooks_ || make_ready_at_once(*acquired, site, coarse_now())) return record_acquire(*acquired, site);
    give_back_unready(*acquired);
    return nullptr;
}

KOMBU_POOL_INLINE SlotCell* PoolEngine::acquire_idle(const std::source_location& site) {
    SlotCell* acquired = try_acquire_slot();
    if (!acquired) {
        const auto held = lock();
        const Decision decision = core_.acquire_idle();
        if (decision.outcome == AcquireOutcome::use) acquired = &table_.cell(decision.slot);
    }
    if (!acquired) return nullptr;
    if (!has_no_hooks_) acquired->acquired_at.store(coarse_now(), std::memory_order_relaxed);
    reporter_.acquired_at_once();
    return record_acquire(*acquired, site);
}

KOMBU_POOL_INLINE Decision PoolEngine::decide(const Acquisition& acquisition, Clock::time_point start,
                                              EngineRef& reference) {
    auto held = lock();
    Decision decision = core_.acquire(start, acquisition.block);
    bool too_many = false;
    if (decision.outcome == AcquireOutcome::full && acquisition.block) {
        too_many = has_too_many_waiters();
        if (!too_many) decision = wait(held, acquisition, start, reference);
    }
    switch (decision.outcome) {
        case AcquireOutcome::closed: throw_closed();
        case AcquireOutcome::no_memory: throw std::bad_alloc{};
        case AcquireOutcome::timed_out:
        case AcquireOutcome::full:
            reference.retain(*this);
            throw_limit_exceeded(std::move(held), acquisition, start, too_many);
        default: return decision;
    }
}

KOMBU_POOL_INLINE Decision PoolEngine::wait(std::unique_lock<std::mutex>& held, const Acquisition& acquisition,
                                            Clock::time_point start, EngineRef& reference) {
    reference.retain(*this);
    observe_leases(start);
    ThreadWaiter waiter{wakes_, start, acquisition.deadline};
    if (const Decision decision = core_.enqueue(waiter); decision.outcome != AcquireOutcome::none) return decision;
    for (;;) {
        held.unlock();
        const auto reason = waiter.wait(acquisition.deadline);
        if (reason == ThreadWaiter::decided) return waiter.decision;  // needs no lock
        held.lock();
        if (reason == ThreadWaiter::timeout && core_.cancel(waiter, Clock::now())) return {AcquireOutcome::timed_out};
        waiter.rearm();  // before retry(), which may notify it again
        if (waiter.decision.outcome == AcquireOutcome::none) core_.retry(waiter, Clock::now());
        if (waiter.decision.outcome != AcquireOutcome::none) return waiter.decision;
    }
}

KOMBU_POOL_INLINE void PoolEngine::throw_limit_exceeded(std::unique_lock<std::mutex> held,
                                                        const Acquisition& acquisition, Clock::time_point start,
                                                        bool too_many_waiters) {
    reporter_.count_limit_exceeded();  // first: the report needs memory
    if (!held.owns_lock()) held.lock();
    const auto now = Clock::now();
    const std::size_t idle = core_.idle();
    LimitReport report;
    report.pool = options_.name;
    report.resource_name = hooks_->resource_name;
    report.limit = core_.limit();
    report.in_use = core_.live() - idle;
    report.idle = idle;
    report.connecting = core_.creating();
    report.waiting = core_.waiting();
    report.max_waiters = too_many_waiters ? options_.max_waiters : 0;
    report.blocked = acquisition.block;
    report.waited = acquisition.block ? now - start : Clock::duration{0};
    report.oldest_lease = maintenance_.oldest_lease(core_, now);
    report.last_error = last_error_;
    held.unlock();
    if (report.last_error.empty()) report.last_error = hooks_->last_error();
    reporter_.limit_exceeded(report);
    std::rethrow_exception(hooks_->limit_error(std::move(report)));
}

KOMBU_POOL_INLINE bool PoolEngine::make_ready(const Decision& decision, SlotReservation& reservation,
                                              const Acquisition& acquisition, Clock::time_point start,
                                              EngineRef& reference) {
    SlotCell& cell = table_.cell(decision.slot);
    // Reports name the caller as the holder while it creates or prepares.
    cell.acquired_from.store(acquisition.site, std::memory_order_relaxed);
    cell.acquired_at.store(coarse_now(), std::memory_order_relaxed);
    try {
        const bool ready = decision.outcome == AcquireOutcome::create
                               ? create(reservation, acquisition, start, reference)
                               : prepare(reservation, acquisition, start, reference);
        // A slot that a reset orphaned meanwhile is given up for another.
        return ready && (table_.is_current(cell) || !is_orphaned(decision.slot, reference));
    } catch (...) {
        if (reservation.is_held()) cell.acquired_at.store(0, std::memory_order_relaxed);
        throw;
    }
}

KOMBU_POOL_INLINE SlotCell* PoolEngine::commit(SlotReservation& reservation, Clock::time_point start, bool timed,
                                               const std::source_location& site) noexcept {
    SlotCell& cell = table_.cell(reservation.slot());
    reservation.dismiss();
    if (timed) reporter_.acquired(Clock::now() - start);
    record_acquire(cell, site);
    if (options_.observer) cell.acquired_at.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
    return &cell;
}

KOMBU_POOL_INLINE bool PoolEngine::create(SlotReservation& reservation, const Acquisition& acquisition,
                                          Clock::time_point start, EngineRef& reference) {
    for (;;) {
        std::shared_ptr<void> resource = create_prepared(acquisition);
        check_process();
        auto held = lock();
        const SlotId slot = reservation.slot();
        try {
            if (resources_.size() <= slot) resources_.resize(core_.slots());
            maintenance_.reserve_records(core_);
        } catch (...) {
            held.unlock();
            close_resource(resource.get(), CloseReason::unprepared);
            throw;
        }
        // After created() the slot may be vacant, and no longer keep this alive.
        reference.retain(*this);
        resources_[slot] = std::move(resource);
        const auto outcome = core_.created(slot, now_if_waiting(), resources_[slot].get());
        if (outcome == PoolCore::CreateOutcome::leased) {
            maintenance_.on_created(slot, Clock::now());
            last_error_.clear();
            return true;
        }
        resource = std::move(resources_[slot]);
        held.unlock();
        const bool closed = outcome == PoolCore::CreateOutcome::closed;
        const bool surplus = outcome == PoolCore::CreateOutcome::surplus;
        close_resource(resource.get(), closed    ? CloseReason::pool_closed
                                       : surplus ? CloseReason::surplus
                                                 : CloseReason::reset);
        resource.reset();
        check_process();
        if (closed) {
            finish_closing(reservation);
            throw PoolClosed(reporter_.display_name() + ": closed while a " + hooks_->resource_name +
                             " was being created");
        }
        if (surplus) {
            finish_closing(reservation);
            return false;
        }
        // Resets that come again and again do not prolong the call.
        if (!acquisition.deadline.expired()) continue;
        if (acquisition.preloading)
            throw Timeout(reporter_.display_name() + ": was reset during each create until the deadline", false);
        throw_limit_exceeded({table_.mutex(), std::defer_lock}, acquisition, start, false);
    }
}

KOMBU_POOL_INLINE std::shared_ptr<void> PoolEngine::create_resource(const Acquisition& acquisition) {
    const auto start = Clock::now();
    std::shared_ptr<void> resource;
    try {
        resource = hooks_->create(acquisition);
        check_process();
        if (!resource) throw Error("the pool's factory returned no resource");
    } catch (const LimitExceeded&) {
        reporter_.create_failed(nullptr);
        throw;  // of a pool that the factory uses; its error is complete
    } catch (const std::exception& error) {
        if (!is_of_this_process()) throw;
        reporter_.create_failed(&error);
        const auto held = lock();
        last_error_ = error.what();
        throw;
    } catch (...) {
        reporter_.create_failed(nullptr);
        throw;
    }
    reporter_.created(Clock::now() - start);
    return resource;
}

KOMBU_POOL_INLINE std::shared_ptr<void> PoolEngine::create_prepared(const Acquisition& acquisition) {
    std::shared_ptr<void> resource = create_resource(acquisition);
    try {
        if (!acquisition.preloading && !prepare_now(resource.get(), acquisition))
            throw OperationalError("a new resource of the pool was not usable");
    } catch (...) {
        close_resource(resource.get(), CloseReason::unprepared);
        throw;
    }
    return resource;
}

KOMBU_POOL_INLINE bool PoolEngine::prepare(SlotReservation& reservation, const Acquisition& acquisition,
                                           Clock::time_point start, EngineRef& reference) {
    SlotCell& cell = table_.cell(reservation.slot());
    const bool usable = is_valid(cell, coarse_now()) && prepare_now(resource_of(cell), acquisition);
    check_process();
    if (usable) return true;
    if (start == Clock::time_point{}) start = Clock::now();  // the fast path did not read the clock
    auto held = lock();
    reference.retain(*this);
    std::shared_ptr<void> dead = std::move(resources_[reservation.slot()]);
    const bool still_ours = core_.recreate(reservation.slot());
    held.unlock();
    close_resource(dead.get(), CloseReason::dead);
    dead.reset();  // before the slot is free: it may close itself only now
    check_process();
    if (still_ours) return create(reservation, acquisition, start, reference);
    finish_closing(reservation);
    return false;
}

KOMBU_POOL_INLINE void PoolEngine::finish_closing(SlotReservation& reservation) noexcept {
    reservation.dismiss();
    const auto held = lock();
    core_.closed(reservation.slot(), now_if_waiting());
    notify_drained();
}

KOMBU_POOL_INLINE bool PoolEngine::is_orphaned(SlotId slot, EngineRef& reference) {
    const auto held = lock();
    if (core_.state(slot) != PoolCore::SlotState::orphaned) return false;
    reference.retain(*this);
    return true;
}

// -- release

KOMBU_POOL_INLINE void PoolEngine::release_slow_path(SlotCell& cell, bool discard, bool unwinding) noexcept {
    if (table_.is_inherited()) return;
    measure_use(cell);
    if (discard || !hooks_->recycle(resource_of(cell), unwinding)) return close_and_free(cell, CloseReason::discarded);
    if (records_idle_time_) cell.released_at.store(coarse_now(), std::memory_order_relaxed);
    const bool forget = cell.uses.load(std::memory_order_relaxed) % forget_every == 0;
    SlotTable& table = table_;  // tables are never freed, but this may be gone after the release
    release_slot(cell);
    if (forget) table.forget_recent();
}

KOMBU_POOL_INLINE std::shared_ptr<void> PoolEngine::detach(SlotCell& cell) noexcept {
    if (table_.is_inherited()) return nullptr;
    measure_use(cell);
    if (!is_of_this_process()) return nullptr;
    const SlotId slot = cell.id.load(std::memory_order_relaxed);
    auto held = lock();
    std::shared_ptr<void> resource = std::move(resources_[slot]);
    core_.discard(slot, now_if_waiting());
    destroy_if_unreferenced(std::move(held));
    return resource;
}

KOMBU_POOL_INLINE void PoolEngine::measure_use(SlotCell& cell) noexcept {
    const std::int64_t since = cell.acquired_at.load(std::memory_order_relaxed);
    const std::uint64_t uses = cell.uses.load(std::memory_order_relaxed);
    if (cell.leaked_use.load(std::memory_order_relaxed) == uses) [[unlikely]] {
        const auto now = Clock::now();
        reporter_.leak_ended(MaintenancePolicy::lease_site(cell, now, now));
    }
    cell.acquired_at.store(0, std::memory_order_relaxed);
    const bool sampled = is_sampled(uses);
    if (since == 0 || (!sampled && !options_.observer)) return;
    const std::chrono::nanoseconds used{Clock::now().time_since_epoch().count() - since};
    reporter_.released(used, !sampled ? 0 : uses <= sampled_first ? 1 : sample_every);
}

KOMBU_POOL_INLINE void PoolEngine::close_and_free(SlotCell& cell, CloseReason reason) noexcept {
    if (table_.is_inherited()) return;
    const SlotId slot = cell.id.load(std::memory_order_relaxed);
    auto held = lock();
    core_.begin_discard(slot);
    std::shared_ptr<void> resource = std::move(resources_[slot]);
    held.unlock();
    close_resource(resource.get(), reason);
    resource.reset();  // before the slot is free: it may close itself only now
    if (!is_of_this_process()) return;
    held.lock();
    core_.closed(slot, now_if_waiting());
    destroy_if_unreferenced(std::move(held));
}

KOMBU_POOL_INLINE void PoolEngine::on_slot_released(SlotId slot, std::unique_lock<std::mutex> held) noexcept {
    CloseReason reason = CloseReason::surplus;
    if (slot < core_.slots()) {
        if (table_.cell(slot).close_on_release.load(std::memory_order_relaxed)) reason = CloseReason::max_lifetime;
        if (core_.state(slot) == PoolCore::SlotState::orphaned) reason = CloseReason::reset;
        if (core_.closed()) reason = CloseReason::pool_closed;
    }
    wakes_.hold();
    const auto action = core_.released(slot, now_if_waiting());
    const void* word = wakes_.take_held();
    if (action == PoolCore::ReleaseAction::close) {
        std::shared_ptr<void> resource = std::move(resources_[slot]);
        held.unlock();
        if (word) futex_wake(std::exchange(word, nullptr));
        close_resource(resource.get(), reason);
        resource.reset();
        if (!is_of_this_process()) return;
        held.lock();
        core_.closed(slot, now_if_waiting());
    }
    destroy_if_unreferenced(std::move(held));
    if (word) futex_wake(word);
}

KOMBU_POOL_INLINE void PoolEngine::return_reservation(SlotId slot) noexcept {
    auto held = lock();
    if (core_.state(slot) == PoolCore::SlotState::creating) {
        core_.create_failed(slot, now_if_waiting());
        return destroy_if_unreferenced(std::move(held));
    }
    held.unlock();
    release_slot(table_.cell(slot));
}

// -- the pool as a whole

KOMBU_POOL_INLINE std::unique_ptr<ResizeParticipant> PoolEngine::make_resize_participant(std::size_t limit,
                                                                                         const ResizeOptions& options) {
    return std::make_unique<PoolResizeParticipant>(*this, limit, options);
}

KOMBU_POOL_INLINE void PoolEngine::reset(bool close_pool) noexcept {
    auto held = lock();
    const bool reopens = core_.closed() && !close_pool;
    if (close_pool) core_.close();  // tells the waiters
    if (reopens) core_.reopen();
    core_.reset(now_if_waiting());
    notify_drained();  // calls that wait for leases end when the pool is open again
    held.unlock();
    close_evicted();
    if (!reopens || !needs_background_maintenance() || !is_of_this_process()) return;
    maintenance_thread().remove(*this);  // unless it has noticed already that the pool was closed
    try {
        maintenance_thread().add(*this, maintenance_.period());
    } catch (const std::exception&) {
        log(LogLevel::error, "a pool that was closed and reset has no maintenance: no thread, or no memory");
    }
}

KOMBU_POOL_INLINE void PoolEngine::close() noexcept {
    auto held = lock();
    if (core_.closed()) return;
    core_.close();
    held.unlock();
    close_evicted();
}

KOMBU_POOL_INLINE std::size_t PoolEngine::wait_for_leases(Deadline deadline) {
    if (!is_of_this_process()) return 0;  // close() may have forked
    EngineRef reference;
    auto held = lock();
    reference.retain(*this);
    ++drain_waiters_;
    const auto drained = [this] { return core_.outstanding() == 0 || !core_.closed(); };
    if (deadline.is_never())
        drained_.wait(held, drained);
    else
        drained_.wait_until(held, deadline.when(), drained);
    --drain_waiters_;
    return core_.outstanding();
}

KOMBU_POOL_INLINE std::size_t PoolEngine::evict_if(const std::function<bool(void*)>& predicate) {
    std::size_t evicted = 0;
    for (SlotId slot = 0; slot < table_.size(); ++slot) {
        {
            const auto held = lock();
            if (!core_.acquire_slot(slot)) continue;
        }
        SlotCell& cell = table_.cell(slot);
        cell.acquired_from.store({}, std::memory_order_relaxed);
        bool matches = false;
        try {
            matches = predicate(resource_of(cell));
        } catch (...) {
            release_slot(cell);
            throw;
        }
        check_process();
        if (!matches) {
            release_slot(cell);
            continue;
        }
        ++evicted;
        close_and_free(cell, CloseReason::evicted);
        check_process();
    }
    return evicted;
}

KOMBU_POOL_INLINE void PoolEngine::release_pool() noexcept {
    if (!is_of_this_process()) return;
    if (needs_background_maintenance()) maintenance_thread().remove(*this);
    close();
    if (is_of_this_process()) drop_reference(lock());
}

KOMBU_POOL_INLINE PoolStats PoolEngine::stats() const {
    PoolStats stats;
    stats.name = options_.name;
    stats.kind = hooks_->resource_name;
    const auto held = lock();
    stats.limit = core_.limit();
    stats.connecting = core_.creating();
    stats.closing = core_.closing();
    stats.waiting = core_.waiting();
    stats.idle = core_.idle();
    stats.in_use = core_.live() - stats.idle;
    for (SlotId slot = 0; slot < core_.slots(); ++slot)
        stats.acquired += table_.cell(slot).uses.load(std::memory_order_relaxed);
    stats.oldest_lease = maintenance_.oldest_lease(core_, Clock::now());
    reporter_.add_to(stats);
    return stats;
}

KOMBU_POOL_INLINE void PoolEngine::close_evicted() noexcept {
    process_evictions(PoolCore::Eviction::interrupt);
    process_evictions(PoolCore::Eviction::close);
}

KOMBU_POOL_INLINE void PoolEngine::process_evictions(PoolCore::Eviction eviction) noexcept {
    if (!is_of_this_process()) return;
    auto held = lock();
    for (SlotId slot = 0; slot < core_.slots(); ++slot) {
        if (core_.eviction(slot) != eviction) continue;
        core_.begin_eviction(slot);
        std::shared_ptr<void> resource = resources_[slot];
        if (eviction == PoolCore::Eviction::interrupt) {
            held.unlock();
            hooks_->interrupt(resource.get());
            resource.reset();
            if (!is_of_this_process()) return;
            held.lock();
        } else {
            resources_[slot].reset();
            const CloseReason reason = core_.close_reason(slot);
            held.unlock();
            close_resource(resource.get(), reason);
            resource.reset();
            if (!is_of_this_process()) return;
            held.lock();
            core_.closed(slot, now_if_waiting());
        }
    }
    notify_drained();
}

KOMBU_POOL_INLINE void PoolEngine::close_resource(void* resource, CloseReason reason) noexcept {
    hooks_->close(resource);
    reporter_.closed(reason);
}

KOMBU_POOL_INLINE void PoolEngine::drop_reference(std::unique_lock<std::mutex> held) noexcept {
    --references_;
    destroy_if_unreferenced(std::move(held));
}

KOMBU_POOL_INLINE void PoolEngine::destroy_if_unreferenced(std::unique_lock<std::mutex> held) noexcept {
    notify_drained();
    if (references_ != 0 || core_.occupied() != 0) return;
    table_.detach_listener();
    held.unlock();
    delete this;
}

// -- maintenance

KOMBU_POOL_INLINE bool PoolEngine::try_retain() noexcept {
    const auto held = lock();
    if (core_.closed()) return false;
    ++references_;
    return true;
}

KOMBU_POOL_INLINE void PoolEngine::run() noexcept {
    try {
        maintain(Clock::now());
    } catch (...) {
        log(LogLevel::error, "a pass of pool maintenance ended early: out of memory");
    }
    if (is_of_this_process()) drop_reference(lock());
}

KOMBU_POOL_INLINE void PoolEngine::warm_up(std::size_t count, Deadline deadline, const std::source_location& site) {
    PoolMaintainer{*this}.warm_up(count, deadline, site);
}

KOMBU_POOL_INLINE void PoolEngine::maintain(Clock::time_point now) { PoolMaintainer{*this}.run(now); }

}  // namespace kombu::detail
