// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/entity.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace kombu::memory {

/// What the arguments of a queue ask for, as RabbitMQ reads them.
struct QueuePolicy {
    enum class Overflow : std::uint8_t { drop_head, reject_publish, reject_publish_dlx };

    /// \throws ChannelError  406, as from RabbitMQ, when an argument has a wrong type or value
    explicit QueuePolicy(const Queue& queue);

    std::optional<std::chrono::milliseconds> message_ttl{};
    std::optional<std::chrono::milliseconds> expires{};
    std::optional<std::uint64_t> max_length{};
    std::optional<std::uint64_t> max_length_bytes{};
    Overflow overflow = Overflow::drop_head;
    std::uint8_t max_priority = 0;
    std::optional<std::uint64_t> delivery_limit{};
    bool is_quorum = false;
    bool has_single_consumer = false;
    std::optional<std::string> dead_letter_exchange{};
    std::optional<std::string> dead_letter_routing_key{};
};

}  // namespace kombu::memory
