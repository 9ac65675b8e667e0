#pragma once

#include <kombu/deadline.hpp>

#include <chrono>
#include <cstdint>

namespace kombu::amqp {

/// When to send heartbeats and when the peer has missed too many. It is looked at eight times an interval; in between
/// it only hears that something was sent or received, so that neither reads the clock.
class Heartbeat {
public:
    /// No heartbeats.
    Heartbeat() = default;
    Heartbeat(std::chrono::seconds interval, Clock::time_point now) noexcept
        : interval_(interval), next_(now + look_every()), last_sent_(now), last_received_(now) {}

    std::chrono::seconds interval() const noexcept { return interval_; }
    Clock::duration look_every() const noexcept { return Clock::duration{interval_} / 8; }
    Deadline next() const noexcept { return interval_.count() == 0 ? Deadline::never() : Deadline::at(next_); }

    void sent() noexcept { sent_ = true; }
    void received() noexcept { received_ = true; }

    enum class Due : std::uint8_t { nothing, frame, end };
    Due look(Clock::time_point now) noexcept {
        if (interval_.count() == 0 || now < next_) return Due::nothing;
        next_ = now + look_every();
        if (received_) last_received_ = now;
        if (sent_) last_sent_ = now;
        received_ = sent_ = false;
        // Something may have come right after the look before the last: it is found out in time all the same.
        if (now - last_received_ > 2 * Clock::duration{interval_} - 2 * look_every()) return Due::end;
        if (now - last_sent_ < Clock::duration{interval_} / 2) return Due::nothing;
        last_sent_ = now;
        return Due::frame;
    }

private:
    std::chrono::seconds interval_{0};
    Clock::time_point next_{};
    Clock::time_point last_sent_{};
    Clock::time_point last_received_{};
    bool sent_ = false;
    bool received_ = false;
};

}  // namespace kombu::amqp
