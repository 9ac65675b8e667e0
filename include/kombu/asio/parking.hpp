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
#include <optional>
#include <utility>

/// Where operations wait for signals: thousands may, and nothing of the event loop refers to them meanwhile.
namespace kombu::detail {

template <class Item>
struct Linked {
    Item* next = nullptr;
    Item* previous = nullptr;
};

/// Items that live where their owners keep them.
template <class Item>
class LinkedList {
public:
    Item* front() const noexcept { return head_; }
    void push(Item& item) noexcept {
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

/// An operation that waits for a signal.
class Parked : public Linked<Parked> {
public:
    /// Its deadline has passed; maybe said more than once. With the lot's lock.
    virtual void expired() noexcept = 0;
    /// The event loop ends: the operation is dropped. Without the lock.
    virtual void drop() noexcept = 0;

protected:
    virtual ~Parked() = default;

private:
    friend class ParkingLot;
    Clock::time_point until_{};
    std::size_t place_ = 0;
};

/// Keeps the operations by their deadlines, to the millisecond, with one timer for all of them. Coming and going costs
/// the same however many there are: a wheel of lists, in which those that are further away than a turn are passed over.
class ParkingLot : public std::enable_shared_from_this<ParkingLot> {
public:
    /// False when the event loop has ended.
    bool enter(Parked& parked, Deadline until, const boost::asio::any_io_executor& executor) {
        const std::lock_guard lock{mutex_};
        if (ended_) return false;
        parked.until_ = until.when();
        parked.place_ = until.is_never() ? unbounded : place_of(tick_of(until.when()));
        if (!until.is_never()) {
            if (!timer_) timer_.emplace(executor);  // for its context only: what it runs is nobody's
            arm(tick_of(until.when()));
            ++bounded_;
        }
        places_[parked.place_].push(parked);
        return true;
    }

    /// False when the event loop has ended: then drop() is or was called.
    bool leave(Parked& parked) noexcept {
        const std::lock_guard lock{mutex_};
        if (ended_) return false;
        places_[parked.place_].remove(parked);
        if (parked.place_ != unbounded && --bounded_ == 0) disarm();
        return true;
    }

    /// In a forked child nobody will give the signals that are waited for.
    void forked() {
        const std::lock_guard lock{mutex_};
        for (LinkedList<Parked>& place : places_)
            for (Parked* parked = place.front(); parked; parked = parked->next) parked->expired();
    }

    /// The event loop ends.
    void end() noexcept {
        std::unique_lock lock{mutex_};
        ended_ = true;
        timer_.reset();
        for (LinkedList<Parked>& place : places_)
            while (Parked* const parked = place.front()) {
                place.remove(*parked);
                lock.unlock();
                parked->drop();
                lock.lock();
            }
    }

private:
    using Timer = boost::asio::basic_waitable_timer<Clock>;
    using Tick = std::int64_t;
    static constexpr std::size_t turn = 1024;
    static constexpr std::size_t unbounded = turn;
    static constexpr Tick never = INT64_MAX;

    /// The first tick that is not before `when`.
    static Tick tick_of(Clock::time_point when) noexcept {
        return std::chrono::ceil<std::chrono::milliseconds>(when.time_since_epoch()).count();
    }
    static std::size_t place_of(Tick tick) noexcept { return static_cast<std::size_t>(tick) % turn; }

    void arm(Tick tick) {
        if (tick >= armed_for_) return;
        timer_->expires_at(Clock::time_point{std::chrono::milliseconds{tick}});
        armed_for_ = never;  // should the next line throw
        // On the thread that finds the time come, whatever the executor is that the timer was made with: that may be a
        // strand, and busy.
        timer_->async_wait(boost::asio::bind_executor(
            boost::asio::system_executor{}, [self = shared_from_this(), tick](const boost::system::error_code& error) {
                if (!error) self->look(tick);
            }));
        armed_for_ = tick;
    }
    void disarm() noexcept {
        armed_for_ = never;
        timer_->cancel();
    }

    void look(Tick from) {
        const std::lock_guard lock{mutex_};
        if (ended_ || armed_for_ != from) return;
        armed_for_ = never;
        const auto now = Clock::now();
        const Tick last = std::chrono::floor<std::chrono::milliseconds>(now.time_since_epoch()).count();
        for (Tick tick = std::max(from, last - static_cast<Tick>(turn) + 1); tick <= last; ++tick)
            for (Parked* parked = places_[place_of(tick)].front(); parked; parked = parked->next)
                if (parked->until_ <= now) parked->expired();
        if (bounded_ == 0) return;
        for (Tick tick = last + 1;; ++tick)
            if (places_[place_of(tick)].front() || tick == last + static_cast<Tick>(turn)) return arm(tick);
    }

    ForkSafeMutex mutex_{};
    bool ended_ = false;
    std::size_t bounded_ = 0;
    Tick armed_for_ = never;
    std::optional<Timer> timer_{};
    std::array<LinkedList<Parked>, turn + 1> places_{};
};

}  // namespace kombu::detail
