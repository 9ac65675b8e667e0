// SPDX-License-Identifier: BSD-3-Clause
#include "client/job_collector.hpp"

#include "client/client_access.hpp"
#include "client/handler_runner.hpp"

#include <exception>
#include <utility>

namespace kombu::detail {

bool JobCollector::collect(std::vector<HandlerJob>& jobs) {
    auto message = consumer_->next_message();
    if (!message) return false;
    const std::string& queue = consumer_->last_queue().name();
    const bool needs_settlement = !message->acknowledged();
    settlements_->count([&](ConsumerStats& stats) {
        ++stats.received;
        if (message->redelivered()) ++stats.redelivered;
        ++(needs_settlement ? stats.in_hand : stats.acknowledged);
    });
    ClientAccess::restore_delivery_info(*message, exchange_header, routing_key_header);
    if (batch) {
        if (batch_queue_ != queue) end_batch(jobs);
        if (batch_.empty()) batch_due_ = Deadline::after(batch->linger);
        batch_queue_ = queue;
        batch_.push_back(std::move(*message));
        if (batch_.size() >= batch->max) end_batch(jobs);
        return true;
    }
    HandlerJob& job = jobs.emplace_back(HandlerJob{.queue = queue, .key = key_of(*message)});
    job.messages.push_back(std::move(*message));
    return true;
}

void JobCollector::end_batch(std::vector<HandlerJob>& jobs) {
    batch_due_ = Deadline::never();
    if (!batch_.empty()) jobs.push_back({.messages = std::exchange(batch_, {}), .queue = batch_queue_});
}

std::string JobCollector::key_of(const Message& message) const {
    if (!order_key_) return {};
    try {
        return order_key_(message);
    } catch (const std::exception& error) {
        settlements_->log_failure("order_key has failed: " + std::string{error.what()});
    }
    return {};
}

}  // namespace kombu::detail
