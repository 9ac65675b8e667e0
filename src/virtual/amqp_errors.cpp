#include "virtual/amqp_errors.hpp"

#include <kombu/error.hpp>

namespace kombu::routing {

void not_found(const char* kind, std::string_view name) {
    throw ChannelError("NOT_FOUND - no " + std::string{kind} + " '" + std::string{name} + "'", 404);
}

void precondition_failed(const std::string& why) { throw ChannelError("PRECONDITION_FAILED - " + why, 406); }

void no_route(std::string_view exchange, std::string_view routing_key) {
    throw Unroutable(
        "NO_ROUTE - exchange '" + std::string{exchange} + "' has no queue for '" + std::string{routing_key} + "'", 312);
}

void check_equivalent(const Exchange& known, const Exchange& wanted) {
    const bool same = known.type() == wanted.type() && known.durable() == wanted.durable() &&
                      known.auto_delete() == wanted.auto_delete() &&
                      known.options().arguments == wanted.options().arguments;
    if (!same)
        throw NotEquivalentError("PRECONDITION_FAILED - exchange '" + wanted.name() +
                                 "' exists already with other properties");
}

void check_equivalent(const Queue& known, const Queue& wanted) {
    const bool same = known.durable() == wanted.durable() && known.exclusive() == wanted.exclusive() &&
                      known.auto_delete() == wanted.auto_delete() &&
                      known.declare_arguments() == wanted.declare_arguments();
    if (!same)
        throw NotEquivalentError("PRECONDITION_FAILED - queue '" + known.name() +
                                 "' exists already with other properties");
}

}  // namespace kombu::routing
