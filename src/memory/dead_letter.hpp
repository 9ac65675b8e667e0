// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "memory/client.hpp"
#include "memory/queue_policy.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

namespace kombu::memory {

/// Why a message left its queue without having been handled; RabbitMQ's names.
enum class DeathReason : std::uint8_t { rejected, expired, maxlen, delivery_limit };

/// A message that left its queue without having been handled.
struct DeadMessage {
    QueuedMessage message{};
    DeathReason reason{};
};

/// The message as its queue publishes it to the dead-letter exchange: with the headers `x-death` and `x-first-death-*`
/// and without an expiration.
std::shared_ptr<const OutgoingMessage> make_dead_letter(const DeadMessage& dead, std::string_view queue,
                                                        const QueuePolicy& policy);

/// Whether a dead letter has been in this queue before, and nobody has rejected it since: it would go round for ever.
bool is_cycle(const OutgoingMessage& letter, std::string_view queue, DeathReason reason);

}  // namespace kombu::memory
