// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <chrono>
#include <compare>
#include <optional>

namespace kombu {

/// The clock of all deadlines.
using Clock = std::chrono::steady_clock;

/// The time that a call may take: not set (no bound of its own), or any std::chrono duration. A duration that is too
/// large for the clock (`std::chrono::hours::max()`) counts as not set; a negative one and NaN count as zero.
class OptionalTimeout {
public:
    constexpr OptionalTimeout() = default;
    /// No bound.
    constexpr OptionalTimeout(std::nullopt_t) {}
    /// The bound, of any unit.
    template <class Rep, class Period>
    constexpr OptionalTimeout(std::chrono::duration<Rep, Period> timeout) {
        const double seconds = std::chrono::duration<double>(timeout).count();
        if (!(seconds > 0))
            value_ = std::chrono::nanoseconds::zero();
        else if (seconds < unbounded_after)
            value_ = std::chrono::duration_cast<std::chrono::nanoseconds>(timeout);
    }

    /// Whether there is a bound.
    constexpr bool has_value() const noexcept { return value_.has_value(); }
    /// The bound. There must be one.
    constexpr std::chrono::nanoseconds value() const { return value_.value(); }
    /// This timeout, or `other` when it is not set.
    constexpr OptionalTimeout or_else(OptionalTimeout other) const noexcept { return value_ ? *this : other; }
    friend constexpr bool operator==(OptionalTimeout, OptionalTimeout) = default;

    /// In seconds. Longer timeouts are none: about 95 years, so that now + timeout stays within the clock.
    static constexpr double unbounded_after = 3.0e9;

private:
    std::optional<std::chrono::nanoseconds> value_{};
};

/// A point in time by which a call and everything beneath it must return. Made once per call and passed down.
class Deadline {
public:
    /// The deadline that never passes.
    static Deadline never() noexcept { return Deadline{Clock::time_point::max()}; }
    /// This time.
    static Deadline at(Clock::time_point when) noexcept { return Deadline{when}; }
    /// This long from now; never(), when the timeout is not set.
    static Deadline after(OptionalTimeout timeout) noexcept {
        return timeout.has_value() ? after(timeout, Clock::now()) : never();
    }
    /// Of a call that began at `start`.
    static Deadline after(OptionalTimeout timeout, Clock::time_point start) noexcept {
        return timeout.has_value() ? Deadline{start + timeout.value()} : never();
    }

    /// Whether it never passes.
    bool is_never() const noexcept { return when_ == Clock::time_point::max(); }
    /// Whether it has passed.
    bool expired() const noexcept { return !is_never() && Clock::now() >= when_; }
    /// The time; the latest that there is, when it never passes.
    Clock::time_point when() const noexcept { return when_; }

    /// The time left: zero when the deadline has passed, `nanoseconds::max()` when it never does.
    std::chrono::nanoseconds remaining() const noexcept {
        if (is_never()) return std::chrono::nanoseconds::max();
        return std::max(std::chrono::nanoseconds{when_ - Clock::now()}, std::chrono::nanoseconds::zero());
    }

    friend auto operator<=>(Deadline, Deadline) = default;

private:
    explicit Deadline(Clock::time_point when) noexcept : when_(when) {}
    Clock::time_point when_;
};

}  // namespace kombu
