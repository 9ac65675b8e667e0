// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/entity.hpp>

#include <string>
#include <string_view>

/// The errors of an AMQP broker, for transports that emulate exchanges and queues.
namespace kombu::routing {

/// Throws ChannelError 404; `kind` is "queue" or "exchange".
[[noreturn]] void throw_not_found(const char* kind, std::string_view name);
/// Throws ChannelError 406.
[[noreturn]] void throw_precondition_failed(const std::string& why);
/// Throws NotEquivalentError if the existing exchange or queue differs in its properties.
void check_equivalent(const Exchange& existing, const Exchange& requested);
void check_equivalent(const Queue& existing, const Queue& requested);
/// Throws Unroutable, for a mandatory message that no queue matches.
[[noreturn]] void throw_unroutable(std::string_view exchange, std::string_view routing_key);

}  // namespace kombu::routing
