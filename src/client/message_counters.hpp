// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/message.hpp>
#include <kombu/stats.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace kombu::detail {

/// What one connection has published and received. Those of settling are counted by all threads that the connection
/// has, and all are read by those that ask for the statistics of its broker, which has them from the first connect on.
class MessageCounters {
public:
    MessageCounters() = default;
    MessageCounters(const MessageCounters&) = delete;
    MessageCounters& operator=(const MessageCounters&) = delete;
    ~MessageCounters();

    /// The connection is connected to the broker with this name. Cheap after the first call.
    template <class Name>
    void connected(Name name) {
        is_connected_.store(true, std::memory_order_relaxed);
        if (!is_registered()) register_with(name());
    }
    void disconnected() noexcept { is_connected_.store(false, std::memory_order_relaxed); }

    void published(std::size_t bytes, bool is_confirmed) noexcept {
        add_alone(published_, 1);
        add_alone(published_bytes_, bytes);
        if (is_confirmed) add_alone(confirmed_, 1);
    }
    /// A publish ended with this error.
    void not_published(const std::exception& error) noexcept;
    void received(const Delivery& delivery) noexcept {
        add(received_, 1);
        add(received_bytes_, delivery.body.size());
        if (delivery.info.redelivered) add(redelivered_, 1);
    }
    void settled(async::Settlement settlement) noexcept {
        add(settlement == async::Settlement::acknowledge ? acknowledged_
            : settlement == async::Settlement::reject    ? rejected_
                                                         : requeued_,
            1);
    }

    void add_to(BrokerStats& stats) const noexcept;

private:
    using Counter = std::atomic<std::uint64_t>;
    /// A handler may settle on a thread of its own, beside the one that receives.
    static void add(Counter& counter, std::uint64_t value) noexcept {
        counter.fetch_add(value, std::memory_order_relaxed);
    }
    /// The operation that publishes is the only one of its connection, and an atomic addition costs as much as the
    /// rest.
    static void add_alone(Counter& counter, std::uint64_t value) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
    }
    bool is_registered() const noexcept;
    void register_with(std::string broker);

    Counter published_{0}, published_bytes_{0}, confirmed_{0}, refused_{0}, returned_{0}, failed_{0};
    Counter received_{0}, received_bytes_{0}, redelivered_{0}, acknowledged_{0}, rejected_{0}, requeued_{0};
    std::atomic<bool> is_connected_{false};
    std::uint32_t epoch_ = 0;  // of the process in which it is registered
    bool is_registered_ = false;
    std::string broker_{};
};

}  // namespace kombu::detail
