// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace kombu::detail {

/// Decides when the next attempt to connect may begin, for all connections of a pool. Pure: no clock, no lock.
///
/// Attempts are unlimited while the broker is known to be up. Before the first success, after a connection was lost and
/// while attempts fail, one runs at a time. Failures are followed by a pause that grows, with a random part.
class AttemptPacing {
public:
    /// What an attempt began with; its outcome is ignored when another one has decided meanwhile.
    using Version = std::uint64_t;

    bool may_begin(Clock::time_point now) const noexcept { return is_up_ || now >= next_time(); }
    /// When may_begin() becomes true, unless an attempt ends before.
    Clock::time_point next_time() const noexcept {
        return running_ == 0 ? not_before_ : std::max(not_before_, last_begin_ + slow_after);
    }
    Version begin(Clock::time_point now) noexcept {
        ++running_;
        last_begin_ = now;
        return version_;
    }
    void succeeded() noexcept {
        end();
        ++version_;
        epoch_ += is_up_ ? 0 : 1;
        is_up_ = true;
        failures_ = 0;
        cut_short_since_.reset();
    }
    /// `random`: from 0 to 1.
    /// \return whether this outcome counts
    bool failed(Version begun, Clock::time_point now, double random) noexcept {
        end();
        if (begun != version_) return false;
        ++version_;
        is_up_ = false;
        cut_short_since_.reset();
        const auto pause =
            std::min<Clock::duration>(first_pause * (1 << std::min<std::size_t>(failures_, 8)), max_pause);
        ++failures_;
        not_before_ = now + random_part(pause, random);
        return true;
    }
    /// The caller had less time than an attempt may take. Once that says nothing about the broker; during a second
    /// without a success it counts as a failure.
    /// \return whether it does
    bool cut_short(Version begun, Clock::time_point begin, Clock::time_point now, double random) noexcept {
        if (!cut_short_since_) cut_short_since_ = begin;
        if (now - *cut_short_since_ >= slow_after) return failed(begun, now, random);
        end();
        if (!is_up_) not_before_ = std::max(not_before_, now + random_part(first_pause, random));
        return false;
    }
    /// The attempt ended without an outcome.
    void abandoned() noexcept { end(); }
    /// A connection broke that was made in this epoch: the broker may be down. One of an earlier epoch says nothing.
    void connection_lost(Version epoch) noexcept {
        if (epoch == epoch_) is_up_ = false;
    }
    /// Differs after each time that the broker was not known to be up.
    Version epoch() const noexcept { return epoch_; }

    /// Whether the last attempt failed.
    bool is_down() const noexcept { return failures_ != 0; }

    /// An attempt that takes longer does not keep others from beginning: its event loop may be busy, or the endpoint
    /// silent.
    static constexpr std::chrono::seconds slow_after{1};
    /// Five attempts a second at most, and half a second at most between two.
    static constexpr std::chrono::milliseconds first_pause{200}, max_pause{500};

private:
    void end() noexcept { --running_; }
    static Clock::duration random_part(Clock::duration pause, double random) noexcept {
        return std::chrono::duration_cast<Clock::duration>(pause * (0.5 + random / 2));
    }

    bool is_up_ = false;
    std::size_t running_ = 0;
    std::size_t failures_ = 0;
    Version version_ = 0;
    Version epoch_ = 0;
    std::optional<Clock::time_point> cut_short_since_{};
    Clock::time_point last_begin_{};
    Clock::time_point not_before_{};
};

}  // namespace kombu::detail
