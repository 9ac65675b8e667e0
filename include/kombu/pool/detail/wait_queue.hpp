// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/pool/detail/slot_table.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>

namespace kombu::detail {

/// The outcome of an acquire. `use`: the slot's resource, now leased. `create`: the slot is reserved, and the caller
/// makes a resource for it.
enum class AcquireOutcome : std::uint8_t { none, use, create, full, timed_out, closed, no_memory };

struct Decision {
    AcquireOutcome outcome = AcquireOutcome::none;
    SlotId slot = 0;
};

/// A caller in the queue. The caller owns it; PoolCore only links it.
class KOMBU_EXPORT Waiter {
public:
    /// `may_be_overtaken`: it may be notified of what is free, and newcomers may be quicker. Not for an operation,
    /// whose event loop may be busy with something else and keep it from responding.
    Waiter(Clock::time_point since, Clock::time_point deadline, bool may_be_overtaken = true) noexcept
        : since_(since), deadline_(deadline), may_be_overtaken_(may_be_overtaken) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    /// Called with the pool's lock held. Either a decision was written, and this is the last call; or the waiter is
    /// notified() that something is free, and calls PoolCore::retry().
    virtual void wake() noexcept = 0;

    bool notified() const noexcept { return notified_; }

    Decision decision{};

protected:
    virtual ~Waiter() = default;

private:
    friend class WaitQueue;
    friend class PoolCore;
    const Clock::time_point since_;
    const Clock::time_point deadline_;
    const bool may_be_overtaken_;
    Waiter* next_ = nullptr;
    Waiter* previous_ = nullptr;
    bool queued_ = false;
    bool notified_ = false;
};

/// The waiters of a pool, first in, first out.
class WaitQueue {
public:
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return head_ == nullptr; }
    Waiter* front() const noexcept { return head_; }

    void push(Waiter& waiter) noexcept {
        assert(!waiter.queued_);
        waiter.previous_ = tail_;
        waiter.next_ = nullptr;
        (tail_ ? tail_->next_ : head_) = &waiter;
        tail_ = &waiter;
        waiter.queued_ = true;
        ++size_;
    }

    void remove(Waiter& waiter) noexcept {
        assert(waiter.queued_);
        (waiter.previous_ ? waiter.previous_->next_ : head_) = waiter.next_;
        (waiter.next_ ? waiter.next_->previous_ : tail_) = waiter.previous_;
        waiter.queued_ = false;
        --size_;
    }

private:
    Waiter* head_ = nullptr;
    Waiter* tail_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace kombu::detail
