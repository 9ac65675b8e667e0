// SPDX-License-Identifier: BSD-3-Clause
#include "virtual/amqp_errors.hpp"

#include <kombu/error.hpp>

#include "messages/same_value.hpp"

namespace kombu::routing {

void throw_not_found(const char* kind, std::string_view name) {
    throw ChannelError("NOT_FOUND - no " + std::string{kind} + " '" + std::string{name} + "'", 404);
}

void throw_precondition_failed(const std::string& why) { throw ChannelError("PRECONDITION_FAILED - " + why, 406); }

void throw_unroutable(std::string_view exchange, std::string_view routing_key) {
    throw Unroutable(
        "NO_ROUTE - exchange '" + std::string{exchange} + "' has no queue for '" + std::string{routing_key} + "'", 312);
}

void check_equivalent(const Exchange& existing, const Exchange& requested) {
    const bool same = existing.type() == requested.type() && existing.durable() == requested.durable() &&
                      existing.auto_delete() == requested.auto_delete() &&
                      same_value(existing.options().arguments, requested.options().arguments);
    if (!same)
        throw NotEquivalentError("PRECONDITION_FAILED - exchange '" + requested.name() +
                                 "' already exists with other properties");
}

void check_equivalent(const Queue& existing, const Queue& requested) {
    const bool same = existing.durable() == requested.durable() && existing.exclusive() == requested.exclusive() &&
                      existing.auto_delete() == requested.auto_delete() &&
                      same_value(existing.declare_arguments(), requested.declare_arguments());
    if (!same)
        throw NotEquivalentError("PRECONDITION_FAILED - queue '" + existing.name() +
                                 "' already exists with other properties");
}

}  // namespace kombu::routing
