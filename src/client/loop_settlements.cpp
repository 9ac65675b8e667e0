// SPDX-License-Identifier: BSD-3-Clause
#include "client/loop_settlements.hpp"

#include <kombu/log.hpp>

#include "client/client_access.hpp"

#include <iterator>
#include <utility>

namespace kombu::detail {
namespace {

constexpr std::chrono::seconds failure_log_interval{1};

}  // namespace

LoopSettlements::WakerRegistration::WakerRegistration(LoopSettlements& settlements, async::Waker& waker)
    : settlements_(settlements) {
    const std::lock_guard lock{settlements_.mutex_};
    settlements_.waker_ = &waker;
}

LoopSettlements::WakerRegistration::~WakerRegistration() {
    const std::lock_guard lock{settlements_.mutex_};
    settlements_.waker_ = nullptr;
}

LoopSettlements::Collecting::Collecting(LoopSettlements& settlements) : settlements_(settlements) {
    const std::lock_guard lock{settlements_.mutex_};
    settlements_.is_collecting_ = true;
}

LoopSettlements::Collecting::~Collecting() {
    const std::lock_guard lock{settlements_.mutex_};
    settlements_.is_collecting_ = false;
}

void LoopSettlements::on_handler_ended(bool another_begins) {
    const std::lock_guard lock{mutex_};
    if (waker_ && !(is_collecting_ && another_begins)) waker_->wake();
}

void LoopSettlements::wake() {
    const std::lock_guard lock{mutex_};
    if (waker_) waker_->wake();
}

bool LoopSettlements::try_settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                                 async::Settlement settlement) {
    using enum LoopSettlement::Action;
    const auto action = settlement == async::Settlement::acknowledge ? acknowledge
                        : settlement == async::Settlement::reject    ? reject
                                                                     : requeue;
    push({.channel = channel.channel(), .delivery_tag = delivery_tag, .action = action});
    return true;
}

async::Operation<> LoopSettlements::settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                                           async::Settlement settlement) {
    try_settle(channel, delivery_tag, settlement);
    co_return;
}

void LoopSettlements::on_dropped(const ChannelHandle& channel, std::uint64_t delivery_tag) noexcept try {
    count([](ConsumerStats& stats) { ++stats.dropped_unsettled; });
    log(LogLevel::warning, "a message of " + queues_ + " was destroyed without a settlement, and is requeued");
    push(
        {.channel = channel.channel(), .delivery_tag = delivery_tag, .action = LoopSettlement::Action::requeue_slowly});
} catch (const std::exception&) {
    // Without memory it goes back when the channel is closed.
}

void LoopSettlements::push(LoopSettlement settlement) {
    const std::lock_guard lock{mutex_};
    if (!waker_) {  // run() has ended, and its channel is closed
        ++stats_.late;
        --stats_.in_hand;
        return;
    }
    settlements_.push_back(std::move(settlement));
    if (settlements_.size() == 1 && !is_collecting_) waker_->wake();
}

void LoopSettlements::push_for(Message& message, LoopSettlement settlement) {
    settlement.channel = ClientAccess::channel_of(message).channel();
    settlement.delivery_tag = message.delivery_tag();
    ClientAccess::mark_settled(message, settlement.action == LoopSettlement::Action::acknowledge
                                            ? async::Settlement::acknowledge
                                            : async::Settlement::requeue);
    push(std::move(settlement));
}

std::vector<LoopSettlement> LoopSettlements::take() {
    const std::lock_guard lock{mutex_};
    return std::exchange(settlements_, {});
}

void LoopSettlements::put_back(std::vector<LoopSettlement> settlements) {
    const std::lock_guard lock{mutex_};
    settlements_.insert(settlements_.begin(), std::make_move_iterator(settlements.begin()),
                        std::make_move_iterator(settlements.end()));
}

bool LoopSettlements::empty() const {
    const std::lock_guard lock{mutex_};
    return settlements_.empty();
}

void LoopSettlements::drop_late() {
    const std::lock_guard lock{mutex_};
    stats_.late += settlements_.size();
    stats_.in_hand -= settlements_.size();
    settlements_.clear();
}

ConsumerStats LoopSettlements::stats() const {
    const std::lock_guard lock{mutex_};
    return stats_;
}

void LoopSettlements::log_failure(const std::string& text) {
    std::uint64_t others = 0;
    {
        const std::lock_guard lock{mutex_};
        const auto now = Clock::now();
        if (now - last_failure_log_ < failure_log_interval) {
            ++failures_since_;
            return;
        }
        last_failure_log_ = now;
        others = std::exchange(failures_since_, 0);
    }
    log(LogLevel::error, text + (others == 0 ? "" : " (and " + std::to_string(others) + " other failures before)"));
}

}  // namespace kombu::detail
