// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "client/message_settler.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace kombu::detail {

/// What is to be done with a message of a ConsumerLoop.
struct LoopSettlement {
    enum class Action : std::uint8_t { acknowledge, reject, requeue, requeue_slowly, retry };
    std::shared_ptr<TransportChannel> channel{};
    std::uint64_t delivery_tag = 0;
    Action action = Action::acknowledge;
    /// Of a retry.
    OutgoingMessage message{};
    std::string queue{};
    std::chrono::milliseconds delay{0};
};

/// The settlements that any thread leaves for the thread of run(), and the counters of the loop. Nothing here waits, or
/// throws for a lost connection.
class LoopSettlements final : public MessageSettler {
public:
    /// `queues`: their names, for the log.
    explicit LoopSettlements(std::string queues) : queues_(std::move(queues)) {}

    /// Lets others wake run() while it exists. Settlements that come when there is none are late.
    class WakerRegistration {
    public:
        WakerRegistration(LoopSettlements& settlements, async::Waker& waker);
        WakerRegistration(const WakerRegistration&) = delete;
        WakerRegistration& operator=(const WakerRegistration&) = delete;
        ~WakerRegistration();

    private:
        LoopSettlements& settlements_;
    };
    void wake();
    /// A handler has ended. `another_begins`: another one can begin.
    void on_handler_ended(bool another_begins);

    /// While it exists, the end of a handler does not wake run() when another handler begins: run() soon takes several
    /// settlements together.
    class Collecting {
    public:
        explicit Collecting(LoopSettlements& settlements);
        Collecting(const Collecting&) = delete;
        Collecting& operator=(const Collecting&) = delete;
        ~Collecting();

    private:
        LoopSettlements& settlements_;
    };

    /// Leaves the settlement for run(), which needs no waiting. Always true.
    bool try_settle(const ChannelHandle& channel, std::uint64_t delivery_tag, async::Settlement settlement) override;
    async::Operation<> settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                              async::Settlement settlement) override;
    void on_dropped(const ChannelHandle& channel, std::uint64_t delivery_tag) noexcept override;
    void push(LoopSettlement settlement);
    /// Marks the message as settled.
    void push_for(Message& message, LoopSettlement settlement);

    std::vector<LoopSettlement> take();
    /// Puts back, in front, what could not be done.
    void put_back(std::vector<LoopSettlement> settlements);
    bool empty() const;
    /// Those that are left when run() ends.
    void drop_late();

    ConsumerStats stats() const;
    template <class Change>
    void count(Change change) {
        const std::lock_guard lock{mutex_};
        change(stats_);
    }
    /// Logs a failure, one a second at most.
    void log_failure(const std::string& text);

private:
    const std::string queues_;
    mutable std::mutex mutex_{};
    std::vector<LoopSettlement> settlements_{};
    async::Waker* waker_ = nullptr;
    bool is_collecting_ = false;
    ConsumerStats stats_{};
    Clock::time_point last_failure_log_{};
    std::uint64_t failures_since_ = 0;
};

}  // namespace kombu::detail
