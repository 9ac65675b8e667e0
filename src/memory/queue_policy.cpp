// SPDX-License-Identifier: BSD-3-Clause
#include "memory/queue_policy.hpp"

#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <limits>

namespace kombu::memory {
namespace {

/// The arguments of one queue, read one by one.
class Arguments {
public:
    explicit Arguments(const Queue& queue) : queue_(queue), values_(queue.declare_arguments()) {}

    std::optional<std::uint64_t> number(const char* name, std::uint64_t min, std::uint64_t max) const {
        const auto found = values_.find(name);
        if (found == values_.end()) return std::nullopt;
        if (!found->is_number_integer() || (!found->is_number_unsigned() && found->get<std::int64_t>() < 0))
            refuse(name, "not a number without sign");
        const auto value = found->get<std::uint64_t>();
        if (value < min || value > max) refuse(name, "out of range");
        return value;
    }
    std::optional<std::chrono::milliseconds> milliseconds(const char* name, std::uint64_t min) const {
        const auto value = number(name, min, std::numeric_limits<std::uint32_t>::max());
        if (!value) return std::nullopt;
        return std::chrono::milliseconds{static_cast<std::int64_t>(*value)};
    }
    std::optional<std::string> text(const char* name) const {
        const auto found = values_.find(name);
        if (found == values_.end()) return std::nullopt;
        if (!found->is_string()) refuse(name, "not a text");
        return found->get<std::string>();
    }
    bool flag(const char* name) const {
        const auto found = values_.find(name);
        if (found == values_.end()) return false;
        if (!found->is_boolean()) refuse(name, "not a truth value");
        return found->get<bool>();
    }
    [[noreturn]] void refuse(const char* name, const char* why) const {
        routing::throw_precondition_failed("invalid arg '" + std::string{name} + "' for queue '" + queue_.name() +
                                           "': " + why);
    }

private:
    const Queue& queue_;
    const Json& values_;
};

}  // namespace

QueuePolicy::QueuePolicy(const Queue& queue) {
    constexpr std::uint64_t any = std::numeric_limits<std::int64_t>::max();
    const Arguments arguments{queue};
    message_ttl = arguments.milliseconds("x-message-ttl", 0);
    expires = arguments.milliseconds("x-expires", 1);
    max_length = arguments.number("x-max-length", 0, any);
    max_length_bytes = arguments.number("x-max-length-bytes", 0, any);
    delivery_limit = arguments.number("x-delivery-limit", 0, any);
    max_priority = static_cast<std::uint8_t>(arguments.number("x-max-priority", 0, 255).value_or(0));
    has_single_consumer = arguments.flag("x-single-active-consumer");
    dead_letter_exchange = arguments.text("x-dead-letter-exchange");
    dead_letter_routing_key = arguments.text("x-dead-letter-routing-key");
    if (dead_letter_routing_key && !dead_letter_exchange)
        arguments.refuse("x-dead-letter-routing-key", "there is no x-dead-letter-exchange");
    if (const auto name = arguments.text("x-overflow")) {
        if (*name == "reject-publish")
            overflow = Overflow::reject_publish;
        else if (*name == "reject-publish-dlx")
            overflow = Overflow::reject_publish_dlx;
        else if (*name != "drop-head")
            arguments.refuse("x-overflow", "not drop-head, reject-publish or reject-publish-dlx");
    }
    if (const auto type = arguments.text("x-queue-type")) {
        is_quorum = *type == "quorum";
        if (*type == "stream") arguments.refuse("x-queue-type", "the memory broker has no streams");
        if (!is_quorum && *type != "classic") arguments.refuse("x-queue-type", "not classic or quorum");
    }
    if (is_quorum) {
        if (!queue.durable()) arguments.refuse("durable", "a quorum queue is durable");
        if (queue.exclusive()) arguments.refuse("exclusive", "a quorum queue cannot be exclusive");
        if (max_priority != 0) arguments.refuse("x-max-priority", "a quorum queue has no priorities");
        if (overflow == Overflow::reject_publish_dlx) arguments.refuse("x-overflow", "not for a quorum queue");
    }
}

}  // namespace kombu::memory
