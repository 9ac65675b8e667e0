// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// How PoolState acquires when the fast path has nothing: deciding, waiting, refusing, creating, preparing.
#include <kombu/pool/detail/pool_state.hpp>

namespace kombu::detail {

template <class T>
Lease<T> PoolState<T>::acquire_slowly(SlotCell* taken, const AcquireOptions& options,
                                      const std::source_location& site) {
    const bool timed = !taken || options_.observer;
    auto start = timed ? Clock::now() : Clock::time_point{};
    const Acquisition acquisition{!options.timeout.has_value() ? Deadline::never() : Deadline::after(options.timeout),
                                  options.block, false, site};
    Visit visit;
    for (;;) {
        if (!taken && start == Clock::time_point{}) start = Clock::now();  // what the fast path had was of no use
        const Decision decision =
            taken ? Decision{Grant::use, std::exchange(taken, nullptr)->id.load(std::memory_order_relaxed)}
                  : decide(acquisition, start, visit);
        Holding holding{*this, decision.slot};
        if (make_ready(decision, holding, acquisition, visit)) return hand_out(holding, start, timed, site);
    }
}

template <class T>
bool PoolState<T>::make_ready(const Decision& decision, Holding& holding, const Acquisition& acquisition,
                              Visit& visit) {
    SlotCell& cell = table_.cell(decision.slot);
    // Whoever prepares it holds it.
    cell.taker.store(acquisition.site, std::memory_order_relaxed);
    cell.taken_at.store(coarse_now(), std::memory_order_relaxed);
    try {
        const bool ready = decision.grant == Grant::create ? create(holding, acquisition, visit)
                                                           : prepare(holding, acquisition, visit);
        // Dragged away by a reset while it was being prepared: it goes, and the caller gets another.
        return ready && (table_.is_current(cell) || !is_orphaned(decision.slot, visit));
    } catch (...) {
        cell.taken_at.store(0, std::memory_order_relaxed);
        throw;
    }
}

template <class T>
Lease<T> PoolState<T>::hand_out(Holding& holding, Clock::time_point start, bool timed,
                                const std::source_location& site) noexcept {
    SlotCell& cell = table_.cell(holding.slot());
    holding.keep();
    if (timed) note_wait(Clock::now() - start);
    Lease<T> lease = lend(cell, site);
    if (options_.observer) cell.taken_at.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
    return lease;
}

template <class T>
Decision PoolState<T>::decide(const Acquisition& acquisition, Clock::time_point start, Visit& visit) {
    std::unique_lock lock{table_.mutex()};
    Decision decision = core_.acquire(start, acquisition.block);
    bool too_many = false;
    if (decision.grant == Grant::full && acquisition.block) {
        too_many = has_too_many_waiters();
        if (!too_many) decision = wait(lock, acquisition, start, visit);
    }
    switch (decision.grant) {
        case Grant::closed: throw_closed();
        case Grant::timed_out:
        case Grant::full: visit.begin(*this); refuse(std::move(lock), acquisition, start, too_many);
        default: return decision;
    }
}

template <class T>
Decision PoolState<T>::wait(std::unique_lock<std::mutex>& lock, const Acquisition& acquisition, Clock::time_point start,
                            Visit& visit) {
    visit.begin(*this);
    upkeep_.observe(core_, start);
    BlockedCall call{wakes_, start, acquisition.deadline};
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

template <class T>
void PoolState<T>::refuse(std::unique_lock<std::mutex> lock, const Acquisition& acquisition, Clock::time_point start,
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

template <class T>
bool PoolState<T>::create(Holding& holding, const Acquisition& acquisition, Visit& visit) {
    for (;;) {
        std::shared_ptr<T> fresh = make(acquisition);
        std::unique_lock lock{table_.mutex()};
        const SlotId slot = holding.slot();
        try {
            if (resources_.size() <= slot) resources_.resize(core_.slots());
            upkeep_.make_room(core_);
        } catch (...) {
            lock.unlock();
            shut(*fresh, CloseReason::unprepared);
            throw;
        }
        // The slot may be gone after created(), and with it what keeps this alive.
        visit.begin(*this);
        const auto outcome = core_.created(slot, now_if_waiting(), fresh.get());
        if (outcome == PoolCore::Created::leased) {
            upkeep_.born(slot, Clock::now());
            resources_[slot] = std::move(fresh);
            last_error_.clear();
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

template <class T>
std::shared_ptr<T> PoolState<T>::make(const Acquisition& acquisition) {
    const auto start = Clock::now();
    std::shared_ptr<T> fresh;
    try {
        fresh = factory_.create(acquisition);
        if (!fresh) throw Error("the factory of the pool made nothing");
    } catch (const LimitExceeded&) {
        counters_.create_failed();
        throw;  // nested pools: the inner one has said it all
    } catch (const std::exception& error) {
        counters_.create_failed();
        {
            std::lock_guard lock{table_.mutex()};
            last_error_ = error.what();
        }
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
        if (!acquisition.ahead && !prepare_now(*fresh, acquisition))
            throw OperationalError("a new resource of the pool was not usable");
    } catch (...) {
        shut(*fresh, CloseReason::unprepared);
        throw;
    }
    return fresh;
}

template <class T>
bool PoolState<T>::prepare(Holding& holding, const Acquisition& acquisition, Visit& visit) {
    SlotCell& cell = table_.cell(holding.slot());
    T& resource = resource_of(cell);
    if (is_alive(cell) && prepare_now(resource, acquisition)) return true;
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

}  // namespace kombu::detail
