// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/slot_table.hpp>
#include <kombu/pool/detail/waiter.hpp>
#include <kombu/pool/options.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace kombu::detail {

/// The decisions of a pool as a pure state machine: no clock, no thread, no I/O. The caller serialises the calls by the
/// table's lock, tells it the time, and does what it says. docs/pool-model.md has the state diagram.
///
/// Of a *live* slot, the table knows whether it is idle or leased, since that changes without the lock. How many slots
/// exist changes here only, so the limit cannot be exceeded by anything that happens out there.
///
/// Holds after every call: live + creating + closing <= limit, unless the limit was just lowered under use; when
/// somebody waits and something is free, the first in the queue has been poked; every slot is in exactly one state.
class PoolCore {
public:
    /// `orphaned`: leased, dragged away, no longer counted. `closing`: its resource is being closed.
    enum class SlotState : std::uint8_t { vacant, creating, live, orphaned, closing };
    enum class Created : std::uint8_t { leased, stale, closed };
    /// What happens to a resource that came back: nothing, or the caller closes it and then calls closed().
    enum class Returned : std::uint8_t { kept, close };

    struct Rules {
        std::size_t limit = 0;           ///< 0: unlimited
        std::size_t max_connecting = 0;  ///< creates at once on behalf of those who would wait; 0: unlimited
        /// How long the first in the queue may see newcomers take what comes free before the next slot is its own.
        Clock::duration patience{0};
    };

    PoolCore(Rules rules, SlotOwner* owner) : rules_(rules), table_(SlotTable::adopt(owner)) { settle_mood(); }
    PoolCore(const PoolCore&) = delete;
    PoolCore& operator=(const PoolCore&) = delete;
    ~PoolCore() { table_.retire(); }

    SlotTable& table() const noexcept { return table_; }
    std::size_t limit() const noexcept { return rules_.limit; }
    std::size_t live() const noexcept { return live_; }
    std::size_t creating() const noexcept { return creating_; }
    std::size_t closing() const noexcept { return closing_; }
    std::size_t waiting() const noexcept { return queue_.size(); }
    std::size_t used() const noexcept { return live_ + creating_ + closing_; }
    /// Slots that are somebody's: while there are any, the pool's state must not go.
    std::size_t occupied() const noexcept { return occupied_; }
    std::size_t slots() const noexcept { return slots_.size(); }
    bool closed() const noexcept { return closed_; }
    SlotState state(SlotId slot) const { return slots_[slot].state; }
    /// How many live slots nobody has at this moment.
    std::size_t idle() const noexcept {
        std::size_t count = 0;
        for (SlotId id = 0; id < slots_.size(); ++id)
            count += slots_[id].state == SlotState::live && SlotTable::is_idle(table_.cell(id)) ? 1 : 0;
        return count;
    }

    /// An idle resource, a reserved slot, or the reason why not. `may_wait`: the caller would rather queue than be
    /// one more who connects at the same time.
    Decision acquire(Clock::time_point now, bool may_wait = false) {
        if (closed_) return {Grant::closed};
        Decision decision{Grant::full};
        if (queue_.empty() || is_young(*queue_.front(), now))
            decision = take_or_reserve(may_wait);
        else if (!may_wait && has_room())
            decision = {Grant::create, reserve()};  // who waits does so for others to have connected
        calm_down_if_quiet();
        return decision;
    }

    /// What this thread gave back last, else the lowest, so that the surplus stays unused. `none` when nothing is idle.
    Decision take_idle() {
        if (rules_.limit == 0) return {};
        if (const SlotCell* cell = table_.claim_recent()) return {Grant::use, cell->id.load(std::memory_order_relaxed)};
        for (SlotId id = 0; id < slots_.size(); ++id)
            if (slots_[id].state == SlotState::live && table_.claim(table_.cell(id))) return {Grant::use, id};
        return {};
    }

    /// Queue behind those who came before. Only after acquire() said `full`. What came free in between is granted at
    /// once; else the decision is `none` and will be written into the waiter.
    Decision enqueue(Waiter& waiter) {
        table_.demand_attention();
        quiet_ = 0;
        waiter.decision = {};
        if (queue_.empty())
            if (const Decision decision = take_or_reserve(true); decision.grant != Grant::full) return decision;
        queue_.push(waiter);
        return {};
    }

    /// A poked waiter has come to take what is free. When others were quicker the decision stays `none`, and it waits
    /// on, in its old place.
    void retry(Waiter& waiter, Clock::time_point now) {
        if (!waiter.queued_) return;
        waiter.poked_ = false;
        poked_ = nullptr;
        const Decision decision = take_or_reserve(true);
        if (decision.grant != Grant::full) {
            queue_.remove(waiter);
            waiter.decision = decision;
        }
        serve(now);
    }

    /// The waiter gives up. False when a decision reached it first: then that decision is its to honour.
    bool abandon(Waiter& waiter, Clock::time_point now) {
        if (!waiter.queued_) return false;
        unlink(waiter);
        serve(now);
        return true;
    }

    /// Reserves a slot for a resource that nobody waits for. `full` when there is no room.
    Decision reserve_spare(bool obey_max_connecting) {
        if (closed_ || rules_.limit == 0 || !has_room() || (obey_max_connecting && !may_connect()))
            return {Grant::full};
        return {Grant::create, reserve()};
    }

    /// A reserved slot has its resource, and is leased by the caller. `stale`: a reset came in between; close the
    /// resource and create another for the same slot. `closed`: close it, the slot is gone.
    Created created(SlotId id, Clock::time_point now, void* resource = nullptr) {
        Slot& slot = slots_[id];
        assert(slot.state == SlotState::creating);
        if (closed_) {
            vacate(id);
            return Created::closed;
        }
        if (slot.regime != table_.regime()) {
            slot.regime = table_.regime();
            return Created::stale;
        }
        --creating_;
        ++live_;
        slot.state = SlotState::live;
        SlotCell& cell = table_.cell(id);
        cell.resource.store(resource, std::memory_order_relaxed);
        cell.retire.store(false, std::memory_order_relaxed);
        table_.lend(cell);
        serve(now);  // one less who connects
        return Created::leased;
    }

    /// The resource could not be made: the capacity goes to whoever waits.
    void create_failed(SlotId slot, Clock::time_point now) {
        assert(slots_[slot].state == SlotState::creating);
        vacate(slot);
        serve(now);
    }

    /// The resource of a slot that the caller leases turned out to be dead, and the caller will make another in its
    /// place. False when the slot was dragged away meanwhile: it is vacant now and the caller starts again.
    bool recreate(SlotId id, Clock::time_point now) {
        Slot& slot = slots_[id];
        table_.withdraw(table_.cell(id));
        if (slot.state == SlotState::orphaned || closed_) {
            vacate(id);
            serve(now);
            return false;
        }
        assert(slot.state == SlotState::live);
        --live_;
        ++creating_;
        slot.state = SlotState::creating;
        slot.regime = table_.regime();
        return true;
    }

    /// A slot came back while attention was wanted. It may have been dealt with already, or taken again.
    Returned settle(SlotId id, Clock::time_point now) {
        if (id >= slots_.size()) return Returned::kept;  // of a pool that had the table before
        Slot& slot = slots_[id];
        SlotCell& cell = table_.cell(id);
        Returned returned = Returned::kept;
        if (slot.state == SlotState::orphaned && table_.reap(cell)) {
            slot.state = SlotState::closing;
            slot.counted = false;
            returned = Returned::close;
        } else if (slot.state == SlotState::live && is_unwanted(cell) && table_.reap(cell)) {
            --live_;
            ++closing_;
            slot.state = SlotState::closing;
            returned = Returned::close;
        }
        serve(now, id);
        calm_down_if_quiet();
        return returned;
    }

    /// The resource of a slot in state `closing` is closed.
    void closed(SlotId id, Clock::time_point now) {
        assert(slots_[id].state == SlotState::closing);
        vacate(id);
        serve(now);
    }

    /// A lease ended and its resource is no more.
    void discard(SlotId id, Clock::time_point now) {
        table_.withdraw(table_.cell(id));
        vacate(id);
        serve(now);
    }

    /// Leases an idle slot to the caller by name, to look after it. False when it is not idle.
    bool take(SlotId id) noexcept {
        return id < slots_.size() && slots_[id].state == SlotState::live && table_.claim(table_.cell(id));
    }

    /// A live slot is not to be used again: an idle one is `closing` now (true), a leased one when it comes back.
    bool retire(SlotId id) {
        if (slots_[id].state != SlotState::live) return false;
        SlotCell& cell = table_.cell(id);
        cell.retire.store(true, std::memory_order_relaxed);
        if (!table_.reap(cell)) return false;
        --live_;
        ++closing_;
        slots_[id].state = SlotState::closing;
        return true;
    }

    /// Would set_limit with these options be refused?
    bool may_resize(std::size_t limit, const ResizeOptions& options) const noexcept;

    /// Slots whose resources the caller must take away: close the idle ones, interrupt the leased ones.
    struct Evicted {
        std::vector<SlotId> idle{};
        std::vector<SlotId> leased{};
    };

    Evicted set_limit(std::size_t limit, const ResizeOptions& options, Clock::time_point now);

    /// A new regime: idle resources go, leased ones are orphaned (no longer counted, closed when they come back), and
    /// what is being created will be made again.
    Evicted reset(Clock::time_point now);

    /// No more acquires; everyone who waits is told so. Leases stay valid and are closed when they come back.
    std::vector<SlotId> close();

private:
    struct Slot {
        SlotState state = SlotState::vacant;
        bool counted = true;
        std::uint64_t regime = 0;
    };

    bool has_room() const noexcept { return rules_.limit == 0 || used() < rules_.limit; }
    /// Not counting what is on its way out.
    bool is_over() const noexcept { return rules_.limit != 0 && live_ + creating_ > rules_.limit; }
    bool may_connect() const noexcept { return rules_.max_connecting == 0 || creating_ < rules_.max_connecting; }
    bool is_unwanted(const SlotCell& cell) const noexcept {
        return closed_ || rules_.limit == 0 || is_over() || cell.retire.load(std::memory_order_relaxed);
    }
    bool is_young(const Waiter& waiter, Clock::time_point now) const noexcept {
        return now - waiter.since_ < rules_.patience;
    }

    Decision take_or_reserve(bool may_wait) {
        if (const Decision taken = take_idle(); taken.grant != Grant::none) return taken;
        if (!has_room() || (may_wait && rules_.limit != 0 && !may_connect())) return {Grant::full};
        return {Grant::create, reserve()};
    }

    /// `likely` is where to look first: other slots' cells are in other processors' caches.
    bool has_idle(SlotId likely) const noexcept {
        if (likely < slots_.size() && slots_[likely].state == SlotState::live &&
            SlotTable::is_idle(table_.cell(likely)))
            return true;
        for (SlotId id = 0; id < slots_.size(); ++id)
            if (slots_[id].state == SlotState::live && SlotTable::is_idle(table_.cell(id))) return true;
        return false;
    }

    /// As far as is known: by when they came back, of those of the same moment the ones this thread had last at the
    /// end.
    std::vector<SlotId> longest_idle_first() const;

    SlotId reserve() {
        SlotId id;
        if (vacant_.empty()) {
            if (slots_.size() == slots_.capacity()) slots_.reserve(slots_.size() * 2 + 8);
            vacant_.reserve(slots_.capacity());  // so that giving back never allocates
            id = table_.add();
            slots_.emplace_back();
        } else {
            id = vacant_.back();
            vacant_.pop_back();
        }
        slots_[id] = {SlotState::creating, true, table_.regime()};
        ++creating_;
        ++occupied_;
        return id;
    }

    void evict(SlotId id, std::vector<SlotId>& evicted) {
        evicted.push_back(id);
        vacate(id);
    }

    /// Ends a slot, whatever it is.
    void vacate(SlotId id) {
        switch (slots_[id].state) {
            case SlotState::creating: --creating_; break;
            case SlotState::live: --live_; break;
            case SlotState::closing: closing_ -= slots_[id].counted ? 1 : 0; break;
            default: break;
        }
        slots_[id].state = SlotState::vacant;
        vacant_.push_back(id);
        --occupied_;
    }

    /// Gives free capacity to those who wait, the longest-waiting first: idle slots by name to who has waited long,
    /// else by poking; room by name, since it must be reserved.
    void serve(Clock::time_point now, SlotId likely = no_slot) {
        if (closed_) return;
        while (Waiter* waiter = first_in_time(now)) {
            if (poked_ && is_young(*waiter, now)) return;  // it will look for itself, and pass on what it does not need
            if (rules_.limit != 0 && has_idle(likely)) {
                if (is_young(*waiter, now)) return poke(*waiter);
                const Decision decision = take(likely) ? Decision{Grant::use, likely} : take_idle();
                if (decision.grant != Grant::none) {
                    decide(*waiter, decision);
                    continue;
                }
            }
            if (!has_room() || (rules_.limit != 0 && !may_connect())) return;
            decide(*waiter, {Grant::create, reserve()});
        }
    }

    /// The first waiter whose deadline has not passed; those whose has are told.
    Waiter* first_in_time(Clock::time_point now) {
        while (Waiter* waiter = queue_.front()) {
            if (waiter->deadline_ > now) return waiter;
            decide(*waiter, {Grant::timed_out});
        }
        return nullptr;
    }

    /// One at a time.
    void poke(Waiter& waiter) noexcept {
        assert(!poked_);
        poked_ = &waiter;
        waiter.poked_ = true;
        waiter.wake();
    }

    void unlink(Waiter& waiter) noexcept {
        queue_.remove(waiter);
        if (poked_ == &waiter) poked_ = nullptr;
        waiter.poked_ = false;
    }

    void decide(Waiter& waiter, Decision decision) noexcept {
        unlink(waiter);
        waiter.decision = decision;
        waiter.wake();
    }

    /// What keeps the table from being calm, beside those who wait.
    bool must_hear() const noexcept { return closed_ || rules_.limit == 0 || is_over() || !queue_.empty(); }
    void settle_mood() {
        if (must_hear()) table_.demand_attention();
    }
    void calm_down_if_quiet() noexcept {
        if (!table_.wants_attention() || must_hear() || ++quiet_ < quiet_enough) return;
        quiet_ = 0;
        table_.calm_down();
    }

    static constexpr SlotId no_slot = ~SlotId{0};

    /// Changing the mood is a barrier for every thread (bench/RESULTS.md): not for each moment of quiet.
    static constexpr unsigned quiet_enough = 128;

    Rules rules_;
    SlotTable& table_;
    std::size_t live_ = 0;
    std::size_t creating_ = 0;
    std::size_t closing_ = 0;
    std::size_t occupied_ = 0;
    bool closed_ = false;
    unsigned quiet_ = 0;
    std::vector<Slot> slots_;
    std::vector<SlotId> vacant_;
    WaitQueue queue_;
    Waiter* poked_ = nullptr;
};

}  // namespace kombu::detail

#include <kombu/pool/detail/pool_core_limits.hpp>
