// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/fork_local.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

/// The deadlines of operations that wait. Thousands may wait, and no handler of the event loop refers to them
/// meanwhile.
namespace kombu::detail {

template <class Item>
struct ListHook {
    Item* next = nullptr;
    Item* previous = nullptr;
};

/// A doubly linked list of items that their owners store.
template <class Item>
class IntrusiveList {
public:
    Item* front() const noexcept { return head_; }
    void push_front(Item& item) noexcept {
        item.next = head_;
        item.previous = nullptr;
        if (head_) head_->previous = &item;
        head_ = &item;
    }
    void remove(Item& item) noexcept {
        (item.previous ? item.previous->next : head_) = item.next;
        if (item.next) item.next->previous = item.previous;
    }

private:
    Item* head_ = nullptr;
};

/// An operation that waits.
class WheelEntry : public ListHook<WheelEntry> {
public:
    /// The deadline has passed. May be called more than once. The wheel's lock is held.
    virtual void on_expired() noexcept = 0;
    /// The event loop is shut down and drops the operation. The lock is not held.
    virtual void on_shutdown() noexcept = 0;

protected:
    virtual ~WheelEntry() = default;

private:
    friend class TimerWheel;
    Clock::time_point deadline_{};
    std::size_t bucket_ = 0;
    bool is_expired_ = false;
};

/// Keeps waiting operations by their deadlines, to the millisecond, with one timer for all. A hashed timer wheel:
/// adding and removing take constant time, and a bucket also holds entries of later rounds, which are skipped.
class TimerWheel : public std::enable_shared_from_this<TimerWheel> {
public:
    /// `make_executor`: returns one of the event loop; called by the first entry with a deadline.
    /// \return false when the event loop was shut down
    template <class MakeExecutor>
    bool add(WheelEntry& entry, Deadline deadline, MakeExecutor make_executor) {
        const std::lock_guard lock{mutex_};
        if (is_shut_down_) return false;
        entry.deadline_ = deadline.when();
        entry.is_expired_ = false;
        entry.bucket_ = deadline.is_never() ? no_deadline_bucket : bucket_of(tick_of(deadline.when()));
        if (!deadline.is_never()) {
            if (!timer_) timer_.emplace(make_executor());  // only names the context; the handler has another one
            arm(tick_of(deadline.when()));
            ++with_deadline_;
        }
        buckets_[entry.bucket_].push_front(entry);
        return true;
    }

    /// \return false when the event loop was shut down: on_shutdown() has been called or will be
    bool remove(WheelEntry& entry) noexcept {
        const std::lock_guard lock{mutex_};
        if (is_shut_down_) return false;
        buckets_[entry.bucket_].remove(entry);
        if (entry.bucket_ != no_deadline_bucket && --with_deadline_ == 0) disarm();
        return true;
    }

    /// Ends all waits in a forked child, where no other thread will send the signals.
    void on_fork_child() {
        const std::lock_guard lock{mutex_};
        for (IntrusiveList<WheelEntry>& bucket : buckets_)
            for (WheelEntry* entry = bucket.front(); entry; entry = entry->next) entry->on_expired();
    }

    /// Drops all operations when the event loop is shut down.
    void shutdown() noexcept {
        std::unique_lock lock{mutex_};
        is_shut_down_ = true;
        timer_.reset();
        for (IntrusiveList<WheelEntry>& bucket : buckets_)
            while (WheelEntry* const entry = bucket.front()) {
                bucket.remove(*entry);
                lock.unlock();
                entry->on_shutdown();
                lock.lock();
            }
    }

private:
    using Timer = boost::asio::basic_waitable_timer<Clock>;
    using Tick = std::int64_t;
    static constexpr std::size_t wheel_size = 1024;
    static constexpr std::size_t no_deadline_bucket = wheel_size;
    static constexpr Tick never = INT64_MAX;

    /// The first tick that is not before `when`.
    static Tick tick_of(Clock::time_point when) noexcept {
        return std::chrono::ceil<std::chrono::milliseconds>(when.time_since_epoch()).count();
    }
    static std::size_t bucket_of(Tick tick) noexcept { return static_cast<std::size_t>(tick) % wheel_size; }

    void arm(Tick tick) {
        if (tick >= armed_tick_) return;
        timer_->expires_at(Clock::time_point{std::chrono::milliseconds{tick}});
        armed_tick_ = never;  // if the next line throws
        // Runs on the thread that finds the timer expired: the timer's own executor may be a strand, and busy.
        timer_->async_wait(boost::asio::bind_executor(
            boost::asio::system_executor{}, [self = shared_from_this(), tick](const boost::system::error_code& error) {
                if (!error) self->on_tick(tick);
            }));
        armed_tick_ = tick;
    }
    void disarm() noexcept {
        armed_tick_ = never;
        timer_->cancel();
    }

    void on_tick(Tick armed_tick) {
        const std::lock_guard lock{mutex_};
        if (is_shut_down_ || armed_tick_ != armed_tick) return;
        armed_tick_ = never;
        const auto now = Clock::now();
        const Tick current_tick = std::chrono::floor<std::chrono::milliseconds>(now.time_since_epoch()).count();
        for (Tick tick = std::max(armed_tick, current_tick - static_cast<Tick>(wheel_size) + 1); tick <= current_tick;
             ++tick)
            for (WheelEntry* entry = buckets_[bucket_of(tick)].front(); entry; entry = entry->next)
                if (entry->deadline_ <= now) {
                    entry->is_expired_ = true;
                    entry->on_expired();
                }
        if (with_deadline_ == 0) return;
        try {
            arm(next_tick(current_tick));
        } catch (const std::bad_alloc&) {
            // The next add() arms it again.
        }
    }
    /// The first tick of the next round at which an entry is due; the last one when none is. An entry may be overdue:
    /// there was no memory to arm the timer for it.
    Tick next_tick(Tick current_tick) const noexcept {
        const Tick last = current_tick + static_cast<Tick>(wheel_size);
        for (Tick tick = current_tick + 1; tick < last; ++tick)
            for (const WheelEntry* entry = buckets_[bucket_of(tick)].front(); entry; entry = entry->next)
                if (!entry->is_expired_ && tick_of(entry->deadline_) <= tick) return tick;
        return last;
    }

    ForkSafeMutex mutex_{};
    bool is_shut_down_ = false;
    std::size_t with_deadline_ = 0;
    Tick armed_tick_ = never;
    std::optional<Timer> timer_{};
    std::array<IntrusiveList<WheelEntry>, wheel_size + 1> buckets_{};
};

}  // namespace kombu::detail
