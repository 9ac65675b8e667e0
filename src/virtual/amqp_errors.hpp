#pragma once

#include <kombu/entity.hpp>

#include <string>
#include <string_view>

/// How brokers that keep exchanges and queues themselves answer as AMQP has it.
namespace kombu::routing {

/// Throws ChannelError 404; `kind` is "queue" or "exchange".
[[noreturn]] void not_found(const char* kind, std::string_view name);
/// Throws ChannelError 406.
[[noreturn]] void precondition_failed(const std::string& why);
/// Throws NotEquivalentError when something of that name is there already with other properties.
void check_equivalent(const Exchange& known, const Exchange& wanted);
void check_equivalent(const Queue& known, const Queue& wanted);
/// Why a mandatory message comes back. Throws Unroutable.
[[noreturn]] void no_route(std::string_view exchange, std::string_view routing_key);

}  // namespace kombu::routing
