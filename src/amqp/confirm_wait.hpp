// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>

#include "amqp/operations.hpp"

#include <cstdint>
#include <exception>
#include <span>
#include <utility>

namespace kombu::amqp {

/// Waits for the confirmations of consecutive messages. As SessionDriver::run() takes it: not a coroutine, so that a
/// publish makes only one frame.
class ConfirmWait {
public:
    ConfirmWait(Session& session, Channel channel, std::uint64_t first, std::uint64_t last, Deadline until)
        : session_(session), channel_(std::move(channel)), next_(first), last_(last), wait_{.until = until} {}

    bool resume(const async::Ready& ready = {.read = true}) noexcept {
        while (next_ <= last_ && !channel_->confirms.is_pending(next_)) ++next_;
        return next_ > last_ || !ready.read || session_.failed() || !channel_->is_open();
    }
    const async::Wait& wait() const noexcept { return wait_; }
    /// \throws OperationalError  when a message was neither confirmed nor refused: a Timeout when `until` has passed
    void result() const;

protected:
    ChannelState& channel() const noexcept { return *channel_; }

private:
    Session& session_;
    Channel channel_;
    std::uint64_t next_;  // the first that may be pending
    std::uint64_t last_;
    async::Wait wait_;
};

/// The same for one message.
class SingleConfirmWait : public ConfirmWait {
public:
    SingleConfirmWait(Session& session, Channel channel, std::uint64_t number, Deadline until)
        : ConfirmWait(session, std::move(channel), number, number, until), number_(number) {}

    /// \throws Nacked, Unroutable  and as ConfirmWait
    void result() const;

private:
    std::uint64_t number_;
};

/// The outcomes of messages, in the order of publishing; the number 0 stands for one that was not sent. A confirmed
/// message sets its entry to null, a refused one to its error; others leave it.
void collect_outcomes(ChannelState& channel, std::span<const std::uint64_t> numbers,
                      std::span<std::exception_ptr> results);

}  // namespace kombu::amqp
