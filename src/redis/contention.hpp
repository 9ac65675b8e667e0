// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <cstddef>

namespace kombu::redis {

/// How the consumers of a queue, who know nothing of each other, share its messages without all racing for each.
///
/// Redis reports a new message to every consumer that waits at that moment, and one of them receives it. So that two or
/// three wait, however many there are:
/// * A consumer that has received a message rests until it is its turn again: with N consumers and a message each T
///   this takes (N - 1) * T, its work included.
/// * A consumer that loses races one after the other pauses before it waits again.
/// * A consumer that has received a message lately lets those go first who have not.
///
/// Rests and pauses have an upper limit: while all consumers are idle, one of them ends every 5 ms. That bounds how
/// late a message is received that nobody waits for, and what races cost where messages are rare. Rests get shorter
/// when messages are found that nobody waited for.
class Contention {
public:
    using Duration = std::chrono::nanoseconds;

    explicit Contention(Duration longest_pause) : longest_pause_(longest_pause) {}

    /// The number of consumers of the queue, this one included.
    void set_consumers(std::size_t count) noexcept { consumers_ = count; }
    /// The consumer waits from now on.
    void on_waiting(Clock::time_point now) noexcept;
    /// It was told of a message. Returns the time to let others go first. `random` is in [0, 1).
    Duration on_notice(Clock::time_point now, double random) noexcept;
    /// It has received a message. `found`: without a notice, so that perhaps nobody waited for it.
    void on_received(Clock::time_point now, bool found, double random) noexcept;
    /// Another consumer was faster. Returns the time to pause.
    Duration on_lost(Clock::time_point now, double random) noexcept;
    /// Whether there are other consumers, as far as it is known: a race was lost since they were counted last.
    bool has_rivals() const noexcept { return has_rivals_ && consumers_ != 1; }
    /// When to wait again after the last message.
    Clock::time_point rests_until() const noexcept { return rests_until_; }

private:
    double turn() const noexcept;
    double overdue(Clock::time_point now) const noexcept;

    const Duration longest_pause_;
    std::size_t consumers_ = 0;   // 0: not known, and then there may be one
    double interval_ = 0.005;     // between two messages, in seconds
    double scale_ = 1;            // of rests and pauses: shorter while messages are found that nobody waited for
    int losses_ = 0, finds_ = 0;  // in a row
    bool has_rivals_ = false;
    bool waits_ = false;
    bool measures_ = false;  // whether the time to the next notice is an interval between two messages
    Clock::time_point waiting_since_{};
    Clock::time_point last_received_{};
    Clock::time_point rests_until_{};
};

}  // namespace kombu::redis
