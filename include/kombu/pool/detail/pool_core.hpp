// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/deadline.hpp>
#include <kombu/pool/options.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kombu::detail {

using SlotId = std::uint32_t;

/// What an acquire gets. `use`: the slot's resource, now leased. `create`: the slot is reserved, make a resource for
/// it.
enum class Grant : std::uint8_t { none, use, create, full, timed_out, closed };

struct Decision {
    Grant grant = Grant::none;
    SlotId slot = 0;
};

/// A caller in the queue. It lives where the caller keeps it; the core only links it. wake() is called with the pool's
/// lock held, once, after `decision` was set and the waiter was unlinked.
class Waiter {
public:
    explicit Waiter(Clock::time_point deadline) noexcept : deadline_(deadline) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    virtual void wake() noexcept = 0;

    Decision decision{};

protected:
    virtual ~Waiter() = default;

private:
    friend class PoolCore;
    Clock::time_point deadline_;
    Waiter* next_ = nullptr;
    Waiter* previous_ = nullptr;
    bool queued_ = false;
};

/// The decisions of a pool as a pure state machine: no mutex, no clock, no thread, no I/O. The caller serialises the
/// calls, tells it the time, and does what it says. docs/pool-model.md has the state diagram.
///
/// Holds after every call: idle + leased + creating <= limit, unless the limit was just lowered under use;
/// nobody waits while something is free; every slot is in exactly one state.
class PoolCore {
public:
    enum class SlotState : std::uint8_t { vacant, creating, idle, leased, orphaned };
    enum class Created : std::uint8_t { leased, stale, closed };
    /// What happens to a resource that came back: kept, or to be closed by the caller.
    enum class Returned : std::uint8_t { kept, close };

    explicit PoolCore(std::size_t limit) : limit_(limit) {}

    std::size_t limit() const noexcept { return limit_; }
    std::size_t idle() const noexcept { return idle_.size(); }
    std::size_t leased() const noexcept { return leased_; }
    std::size_t creating() const noexcept { return creating_; }
    std::size_t waiting() const noexcept { return waiting_; }
    std::size_t used() const noexcept { return idle_.size() + leased_ + creating_; }
    std::size_t slots() const noexcept { return slots_.size(); }
    bool closed() const noexcept { return closed_; }
    SlotState state(SlotId slot) const { return slots_[slot].state; }

    /// The newest idle resource, a reserved slot, or the reason why not.
    Decision acquire() {
        if (closed_) return {Grant::closed};
        if (waiting_ == 0 && !idle_.empty()) {
            const SlotId slot = idle_.back();
            idle_.pop_back();
            lease(slot);
            return {Grant::use, slot};
        }
        if (waiting_ == 0 && has_room()) return {Grant::create, reserve()};
        return {Grant::full};
    }

    /// Queue behind those who came before. Only after acquire() said `full`.
    void enqueue(Waiter& waiter) noexcept {
        assert(!waiter.queued_);
        waiter.decision = {};
        waiter.previous_ = tail_;
        waiter.next_ = nullptr;
        (tail_ ? tail_->next_ : head_) = &waiter;
        tail_ = &waiter;
        waiter.queued_ = true;
        ++waiting_;
    }

    /// The waiter gives up. False when a decision reached it first: then that decision is its to honour.
    bool abandon(Waiter& waiter) noexcept {
        if (!waiter.queued_) return false;
        unlink(waiter);
        return true;
    }

    /// A reserved slot has its resource. `stale`: a reset came in between; close the resource and create another for
    /// the same slot. `closed`: close it, the slot is gone.
    Created created(SlotId id) {
        Slot& slot = slots_[id];
        assert(slot.state == SlotState::creating);
        if (closed_) {
            vacate(id);
            return Created::closed;
        }
        if (slot.generation != generation_) {
            slot.generation = generation_;
            return Created::stale;
        }
        --creating_;
        slot.state = SlotState::leased;
        ++leased_;
        return Created::leased;
    }

    /// The resource could not be made: the capacity goes to whoever waits.
    void create_failed(SlotId slot, Clock::time_point now) {
        assert(slots_[slot].state == SlotState::creating);
        vacate(slot);
        serve(now);
    }

    /// The resource of a leased slot turned out to be dead, and the caller will make another in its place. False when
    /// the slot was dragged away meanwhile: it is vacant now and the caller starts again.
    bool recreate(SlotId id) {
        Slot& slot = slots_[id];
        if (slot.state == SlotState::orphaned) {
            vacate(id);
            return false;
        }
        assert(slot.state == SlotState::leased);
        --leased_;
        ++creating_;
        slot.state = SlotState::creating;
        slot.generation = generation_;
        return true;
    }

    /// A lease ended with its resource in good order.
    Returned release(SlotId id, Clock::time_point now) {
        Slot& slot = slots_[id];
        if (slot.state == SlotState::orphaned || closed_ || limit_ == 0 || used() > limit_) {
            vacate(id);
            serve(now);
            return Returned::close;
        }
        assert(slot.state == SlotState::leased);
        if (Waiter* waiter = next_in_time(now)) {
            decide(*waiter, {Grant::use, id});
            return Returned::kept;
        }
        --leased_;
        slot.state = SlotState::idle;
        idle_.push_back(id);
        return Returned::kept;
    }

    /// A lease ended and its resource is no more.
    void discard(SlotId slot, Clock::time_point now) {
        vacate(slot);
        serve(now);
    }

    /// Would set_limit with these options be refused?
    bool may_resize(std::size_t limit, const ResizeOptions& options) const noexcept {
        if (options.force || options.ignore_errors || options.reset || limit == 0) return true;
        const std::size_t busy = leased_ + creating_;
        if (limit_ == 0) return busy <= limit;
        return limit >= limit_ || busy == 0;
    }

    /// Slots whose resources the caller must take away: close the idle ones, interrupt the leased ones.
    struct Evicted {
        std::vector<SlotId> idle{};
        std::vector<SlotId> leased{};
    };

    Evicted set_limit(std::size_t limit, const ResizeOptions& options, Clock::time_point now) {
        const bool shrinks = limit != 0 && (limit_ == 0 || limit < limit_);
        Evicted evicted;
        limit_ = limit;
        if (options.reset || (options.force && shrinks)) return reset(now);
        // The longest idle go first: the warm ones are worth keeping.
        std::size_t surplus = 0;
        while (limit_ != 0 && surplus < idle_.size() && used() - surplus > limit_) ++surplus;
        for (std::size_t i = 0; i < surplus; ++i) evicted.idle.push_back(idle_[i]);
        idle_.erase(idle_.begin(), idle_.begin() + static_cast<std::ptrdiff_t>(surplus));
        for (SlotId slot : evicted.idle) forget(slot);
        serve(now);
        return evicted;
    }

    /// A new generation: idle resources go, leased ones are orphaned (no longer counted, closed when they come back),
    /// and what is being created will be made again.
    Evicted reset(Clock::time_point now) {
        ++generation_;
        Evicted evicted;
        evicted.idle = idle_;
        idle_.clear();  // and keeps its capacity, so that giving back never allocates
        for (SlotId slot : evicted.idle) forget(slot);
        for (SlotId id = 0; id < slots_.size(); ++id) {
            if (slots_[id].state != SlotState::leased) continue;
            slots_[id].state = SlotState::orphaned;
            --leased_;
            evicted.leased.push_back(id);
        }
        serve(now);
        return evicted;
    }

    /// No more acquires; everyone who waits is told so. Leases stay valid and are closed when they come back.
    std::vector<SlotId> close() {
        closed_ = true;
        while (Waiter* waiter = head_) {
            unlink(*waiter);
            decide(*waiter, {Grant::closed});
        }
        std::vector<SlotId> evicted = idle_;
        idle_.clear();
        for (SlotId slot : evicted) forget(slot);
        return evicted;
    }

private:
    struct Slot {
        SlotState state = SlotState::vacant;
        std::uint64_t generation = 0;
    };

    bool has_room() const noexcept { return limit_ == 0 || used() < limit_; }

    void lease(SlotId slot) {
        slots_[slot].state = SlotState::leased;
        ++leased_;
    }

    SlotId reserve() {
        SlotId id;
        if (vacant_.empty()) {
            id = static_cast<SlotId>(slots_.size());
            slots_.emplace_back();
            vacant_.reserve(slots_.size());  // so that giving back never allocates
            idle_.reserve(slots_.size());
        } else {
            id = vacant_.back();
            vacant_.pop_back();
        }
        slots_[id] = {SlotState::creating, generation_};
        ++creating_;
        return id;
    }

    /// Ends a slot that is creating, leased or orphaned.
    void vacate(SlotId id) {
        switch (slots_[id].state) {
            case SlotState::creating: --creating_; break;
            case SlotState::leased: --leased_; break;
            default: break;
        }
        forget(id);
    }

    void forget(SlotId id) {
        slots_[id].state = SlotState::vacant;
        vacant_.push_back(id);
    }

    /// Gives free capacity to those who wait, the longest-waiting first.
    void serve(Clock::time_point now) {
        if (closed_) return;
        while (waiting_ != 0 && (!idle_.empty() || has_room())) {
            Waiter* waiter = next_in_time(now);
            if (!waiter) return;
            if (idle_.empty()) {
                decide(*waiter, {Grant::create, reserve()});
            } else {
                const SlotId slot = idle_.back();
                idle_.pop_back();
                lease(slot);
                decide(*waiter, {Grant::use, slot});
            }
        }
    }

    /// Unlinks and returns the first waiter whose deadline has not passed; those whose has are told.
    Waiter* next_in_time(Clock::time_point now) noexcept {
        while (Waiter* waiter = head_) {
            unlink(*waiter);
            if (waiter->deadline_ > now) return waiter;
            decide(*waiter, {Grant::timed_out});
        }
        return nullptr;
    }

    void unlink(Waiter& waiter) noexcept {
        (waiter.previous_ ? waiter.previous_->next_ : head_) = waiter.next_;
        (waiter.next_ ? waiter.next_->previous_ : tail_) = waiter.previous_;
        waiter.queued_ = false;
        --waiting_;
    }

    static void decide(Waiter& waiter, Decision decision) noexcept {
        waiter.decision = decision;
        waiter.wake();
    }

    std::size_t limit_;
    std::size_t leased_ = 0;
    std::size_t creating_ = 0;
    std::size_t waiting_ = 0;
    std::uint64_t generation_ = 0;
    bool closed_ = false;
    std::vector<Slot> slots_;
    std::vector<SlotId> idle_;  // the back was released last
    std::vector<SlotId> vacant_;
    Waiter* head_ = nullptr;
    Waiter* tail_ = nullptr;
};

}  // namespace kombu::detail
