// SPDX-License-Identifier: BSD-3-Clause
#include "client/settlement_sender.hpp"

#include <kombu/error.hpp>

#include "client/client_access.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <utility>

namespace kombu::detail {
namespace {

constexpr std::chrono::milliseconds requeue_interval{100};

}  // namespace

async::Operation<bool> SettlementSender::send(Deadline deadline) {
    std::vector<LoopSettlement> settlements = settlements_->take();
    while (next_due().expired()) {
        slow_requeues_.front().action = LoopSettlement::Action::requeue;
        settlements.push_back(std::move(slow_requeues_.front()));
        slow_requeues_.pop_front();
        next_requeue_ = Deadline::after(requeue_interval);
    }
    if (settlements.empty()) co_return false;
    for (std::size_t i = 0; i < settlements.size(); ++i) {
        std::exception_ptr error;
        try {
            co_await apply(settlements[i], deadline);
        } catch (const std::exception&) {
            error = std::current_exception();
        }
        if (!error) continue;
        // The others are not lost with it.
        settlements.erase(settlements.begin(), settlements.begin() + static_cast<std::ptrdiff_t>(i));
        settlements_->put_back(std::move(settlements));
        std::rethrow_exception(error);
    }
    co_await consumer_->flush(deadline);
    co_return true;
}

async::Operation<> SettlementSender::apply(LoopSettlement& settlement, Deadline deadline) {
    std::uint64_t ConsumerStats::*counter = &ConsumerStats::late;
    if (!is_late(settlement.channel)) {
        switch (settlement.action) {
            case LoopSettlement::Action::acknowledge:
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::acknowledge);
                counter = &ConsumerStats::acknowledged;
                break;
            case LoopSettlement::Action::reject:
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::reject);
                counter = &ConsumerStats::rejected;
                break;
            case LoopSettlement::Action::requeue:
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::requeue);
                counter = &ConsumerStats::requeued;
                break;
            case LoopSettlement::Action::requeue_slowly:
                slow_requeues_.push_back(std::move(settlement));
                next_requeue_ = std::max(next_requeue_, Deadline::at(Clock::now()));
                co_return;
            case LoopSettlement::Action::retry:
                // First this: a crash in between delivers the message twice, and does not lose it.
                if (!co_await publish_retry(settlement, deadline)) {
                    slow_requeues_.push_back(std::move(settlement));
                    co_return;
                }
                if (!settlement.channel->is_open()) break;
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::acknowledge);
                counter = &ConsumerStats::retried;
                break;
        }
    }
    settlements_->count([&](ConsumerStats& stats) {
        ++(stats.*counter);
        --stats.in_hand;
    });
}

async::Operation<bool> SettlementSender::publish_retry(LoopSettlement& settlement, Deadline deadline) {
    try {
        const auto channel = co_await connection_->default_channel(deadline);
        co_await channel->publish_later(settlement.message, settlement.queue, settlement.delay, deadline);
        co_return true;
    } catch (const ConnectionError&) {
        throw;
    } catch (const std::exception& error) {
        settlements_->log_failure("a message of " + settlement.queue +
                                  " cannot be retried, and is requeued: " + error.what());
    }
    co_return false;
}

void SettlementSender::release_slow_requeues() {
    for (LoopSettlement& each : slow_requeues_) {
        each.action = LoopSettlement::Action::requeue;
        settlements_->push(std::move(each));
    }
    slow_requeues_.clear();
}

std::uint64_t SettlementSender::requeue(std::vector<HandlerJob> jobs) {
    std::uint64_t count = 0;
    std::vector<std::uint64_t> tags;
    for (HandlerJob& job : jobs) {
        for (Message& message : job.messages) {
            ++count;
            if (message.acknowledged()) continue;
            if (is_late(ClientAccess::channel_of(message).channel())) {
                message.requeue();
                continue;
            }
            tags.push_back(message.delivery_tag());
            ClientAccess::mark_settled(message, async::Settlement::requeue);
        }
    }
    if (tags.empty()) return count;
    consumer_->open_channel()->requeue_later(tags);
    settlements_->count([&](ConsumerStats& stats) {
        stats.requeued += tags.size();
        stats.in_hand -= tags.size();
    });
    return count;
}

}  // namespace kombu::detail
