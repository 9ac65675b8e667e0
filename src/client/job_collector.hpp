// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>
#include <kombu/deadline.hpp>

#include "client/consumer_state.hpp"
#include "client/loop_settlements.hpp"
#include "client/worker_pool.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

/// Makes the jobs of a ConsumerLoop from what its consumer has received: one for each message, or for each batch.
class JobCollector {
public:
    JobCollector(std::shared_ptr<ConsumerState> consumer, std::shared_ptr<LoopSettlements> settlements,
                 std::function<std::string(const Message&)> order_key)
        : consumer_(std::move(consumer)), settlements_(std::move(settlements)), order_key_(std::move(order_key)) {}

    /// Set: messages are collected in batches.
    std::optional<BatchOptions> batch{};

    /// Takes the next message, and adds the job that it completes, if it does. Returns whether there was a message.
    bool collect(std::vector<HandlerJob>& jobs);
    /// When the batch that is being collected has waited long enough.
    Deadline batch_due() const noexcept { return batch_due_; }
    /// Adds the batch that is being collected, unless it is empty.
    void end_batch(std::vector<HandlerJob>& jobs);
    /// Drops the batch that a cancelled run has left.
    void clear() noexcept {
        batch_.clear();
        batch_due_ = Deadline::never();
    }
    bool has_batch() const noexcept { return !batch_.empty(); }

private:
    std::string key_of(const Message& message) const;

    const std::shared_ptr<ConsumerState> consumer_;
    const std::shared_ptr<LoopSettlements> settlements_;
    const std::function<std::string(const Message&)> order_key_;
    std::vector<Message> batch_{};
    std::string batch_queue_{};
    Deadline batch_due_ = Deadline::never();
};

}  // namespace kombu::detail
