// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

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
        is_up_ = true;
        failures_ = 0;
    }
    /// `random`: from 0 to 1.
    /// \return whether this outcome counts
    bool failed(Version begun, Clock::time_point now, double random) noexcept {
        end();
        if (begun != version_) return false;
        ++version_;
        is_up_ = false;
        const auto pause =
            std::min<Clock::duration>(first_pause * (1 << std::min<std::size_t>(failures_, 8)), max_pause);
        ++failures_;
        not_before_ = now + std::chrono::duration_cast<Clock::duration>(pause * (0.5 + random / 2));
        return true;
    }
    /// The attempt ended without an outcome: its caller gave up before the broker could answer.
    void abandoned() noexcept { end(); }
    /// A connection broke: the broker may be down.
    void connection_lost() noexcept { is_up_ = false; }

    /// Whether the last attempt failed.
    bool is_down() const noexcept { return failures_ != 0; }

    /// An attempt that takes longer does not keep others from beginning: its event loop may be busy, or the endpoint
    /// silent.
    static constexpr std::chrono::seconds slow_after{1};
    /// Five attempts a second at most, and half a second from the return of the broker to the next attempt.
    static constexpr std::chrono::milliseconds first_pause{200}, max_pause{500};

private:
    void end() noexcept { running_ -= running_ != 0 ? 1 : 0; }  // none: it began in a parent process

    bool is_up_ = false;
    std::size_t running_ = 0;
    std::size_t failures_ = 0;
    Version version_ = 0;
    Clock::time_point last_begin_{};
    Clock::time_point not_before_{};
};

}  // namespace kombu::detail
