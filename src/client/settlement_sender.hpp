// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>

#include "client/connection_state.hpp"
#include "client/consumer_state.hpp"
#include "client/loop_settlements.hpp"
#include "client/worker_pool.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace kombu::detail {

/// Sends to the broker what the handlers of a ConsumerLoop have decided about their messages. Its operations are parts
/// of the loop's.
class SettlementSender {
public:
    SettlementSender(std::shared_ptr<ConnectionState> connection, std::shared_ptr<ConsumerState> consumer,
                     std::shared_ptr<LoopSettlements> settlements)
        : connection_(std::move(connection)), consumer_(std::move(consumer)), settlements_(std::move(settlements)) {}

    /// Sends all, with the slow requeues that are due. Returns whether there were any.
    async::Operation<bool> send(Deadline deadline);
    /// When the next slow requeue is due.
    Deadline next_due() const noexcept { return slow_requeues_.empty() ? Deadline::never() : next_requeue_; }
    /// The slow requeues no longer wait: the next send() sends them.
    void release_slow_requeues();
    /// Forgets the slow requeues.
    void clear() noexcept { slow_requeues_.clear(); }
    /// Requeues the messages of jobs that have not begun, so that they come again in their order. Returns their number.
    std::uint64_t requeue(std::vector<HandlerJob> jobs);

private:
    async::Operation<> apply(LoopSettlement& settlement, Deadline deadline);
    /// Publishes a message for later, on a channel of its own: what the broker refuses there costs no consumer. Returns
    /// whether it is stored.
    async::Operation<bool> publish_retry(LoopSettlement& settlement, Deadline deadline);
    /// Whether the channel has gone: the broker delivers its messages again.
    bool is_late(const std::shared_ptr<TransportChannel>& channel) const noexcept {
        return channel != consumer_->open_channel() || !channel->is_open();
    }

    const std::shared_ptr<ConnectionState> connection_;
    const std::shared_ptr<ConsumerState> consumer_;
    const std::shared_ptr<LoopSettlements> settlements_;
    std::deque<LoopSettlement> slow_requeues_{};
    Deadline next_requeue_ = Deadline::at({});
};

}  // namespace kombu::detail
