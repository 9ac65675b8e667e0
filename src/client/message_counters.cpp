// SPDX-License-Identifier: BSD-3-Clause
#include "client/message_counters.hpp"

#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

namespace kombu {
namespace detail {
namespace {

/// The connections of each broker, and what those counted that are gone.
struct CountedBrokers {
    struct Broker {
        BrokerStats ended{};
        std::vector<const MessageCounters*> connections{};
    };
    std::mutex mutex{};
    std::map<std::string, Broker> by_name{};

    /// A program may have a user or a virtual host for each of its customers: of brokers that it has left, only the sum
    /// is kept when there are many.
    void merge_ended() {
        constexpr std::size_t most = 1000;
        if (by_name.size() < most) return;
        BrokerStats sum;
        std::erase_if(by_name, [&](const auto& entry) {
            if (!entry.second.connections.empty()) return false;
            sum += entry.second.ended;
            return true;
        });
        by_name["other"].ended = sum;
    }
};

constinit NoDestructor<ForkLocal<CountedBrokers>> counted_brokers;

}  // namespace

bool MessageCounters::is_registered() const noexcept { return is_registered_ && epoch_ == fork_epoch(); }

void MessageCounters::register_with(std::string broker) {
    CountedBrokers& brokers = counted_brokers.value.get();
    {
        const std::lock_guard lock{brokers.mutex};
        brokers.merge_ended();
        brokers.by_name[broker].connections.push_back(this);
    }
    if (is_registered_)  // by the parent, whose messages these were
        for (Counter* const counter :
             {&published_, &published_bytes_, &confirmed_, &refused_, &returned_, &failed_, &received_,
              &received_bytes_, &redelivered_, &acknowledged_, &rejected_, &requeued_})
            counter->store(0, std::memory_order_relaxed);
    broker_ = std::move(broker);
    epoch_ = fork_epoch();
    is_registered_ = true;
}

MessageCounters::~MessageCounters() {
    if (!is_registered()) return;
    CountedBrokers& brokers = counted_brokers.value.get();
    const std::lock_guard lock{brokers.mutex};
    CountedBrokers::Broker& broker = brokers.by_name.find(broker_)->second;
    std::erase(broker.connections, this);
    disconnected();
    add_to(broker.ended);
}

void MessageCounters::not_published(const std::exception& error) noexcept {
    if (dynamic_cast<const Unroutable*>(&error))
        add(returned_, 1);
    else if (dynamic_cast<const Nacked*>(&error) || dynamic_cast<const ChannelError*>(&error))
        add(refused_, 1);
    else
        add(failed_, 1);
}

void MessageCounters::add_to(BrokerStats& stats) const noexcept {
    const auto get = [](const Counter& counter) { return counter.load(std::memory_order_relaxed); };
    stats.connections += is_connected_.load(std::memory_order_relaxed) ? 1 : 0;
    stats.published += get(published_);
    stats.published_bytes += get(published_bytes_);
    stats.confirmed += get(confirmed_);
    stats.refused += get(refused_);
    stats.returned += get(returned_);
    stats.failed += get(failed_);
    stats.received += get(received_);
    stats.received_bytes += get(received_bytes_);
    stats.redelivered += get(redelivered_);
    stats.acknowledged += get(acknowledged_);
    stats.rejected += get(rejected_);
    stats.requeued += get(requeued_);
}

}  // namespace detail

std::vector<BrokerStats> broker_stats() {
    detail::CountedBrokers& brokers = detail::counted_brokers.value.get();
    std::vector<BrokerStats> all;
    const std::lock_guard lock{brokers.mutex};
    for (const auto& [name, broker] : brokers.by_name) {
        BrokerStats stats = broker.ended;
        stats.broker = name;
        for (const detail::MessageCounters* const counters : broker.connections) counters->add_to(stats);
        all.push_back(std::move(stats));
    }
    return all;
}

}  // namespace kombu
