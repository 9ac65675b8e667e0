// SPDX-License-Identifier: BSD-3-Clause
// Members of the sets that hold bindings on Redis, as any client may have stored them.
#include "fuzz.hpp"
#include "redis/bindings.hpp"
#include "redis/keys.hpp"

#include <string>

void fuzz(std::string_view input) {
    using kombu::redis::BoundQueue;
    static const std::string separator = "\x06\x16";
    const BoundQueue bound = BoundQueue::parse(input, separator);
    (void)kombu::redis::escape_glob(input);
    (void)kombu::redis::matching_queues({bound}, "topic", bound.routing_key);
    const BoundQueue again = BoundQueue::parse(bound.to_set_member(separator), separator);
    require(again.queue == bound.queue && again.routing_key == bound.routing_key, "a binding survives a round trip");
}
