// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <cstdint>

namespace kombu::amqp {

/// Decides when to send a heartbeat and when the peer has missed too many. It is polled eight times per interval;
/// between polls it only records that something was sent or received, so that neither reads the clock.
class Heartbeat {
public:
    /// No heartbeats.
    Heartbeat() = default;
    Heartbeat(std::chrono::seconds interval, Clock::time_point now) noexcept
        : interval_(interval), next_poll_(now + poll_interval()), last_sent_(now), last_received_(now) {}

    std::chrono::seconds interval() const noexcept { return interval_; }
    Clock::duration poll_interval() const noexcept { return Clock::duration{interval_} / 8; }
    Deadline next_poll() const noexcept {
        return interval_.count() == 0 ? Deadline::never() : Deadline::at(next_poll_);
    }

    void on_sent() noexcept { sent_ = true; }
    void on_received() noexcept { received_ = true; }

    enum class Action : std::uint8_t { none, send, time_out };
    Action poll(Clock::time_point now) noexcept {
        if (interval_.count() == 0 || now < next_poll_) return Action::none;
        next_poll_ = now + poll_interval();
        if (received_) last_received_ = now;
        if (sent_) last_sent_ = now;
        received_ = sent_ = false;
        // A reception is dated at the poll after it: two poll intervals less keep the detection within two intervals.
        if (now - last_received_ > 2 * Clock::duration{interval_} - 2 * poll_interval()) return Action::time_out;
        if (now - last_sent_ < Clock::duration{interval_} / 2) return Action::none;
        last_sent_ = now;
        return Action::send;
    }

private:
    std::chrono::seconds interval_{0};
    Clock::time_point next_poll_{};
    Clock::time_point last_sent_{};
    Clock::time_point last_received_{};
    bool sent_ = false;
    bool received_ = false;
};

}  // namespace kombu::amqp
