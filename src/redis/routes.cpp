#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/capture_exception.hpp"
#include "redis/operations.hpp"
#include "virtual/amqp_errors.hpp"

#include <utility>

namespace kombu::redis {

bool is_current(const Link& link, const Way& way) {
    return way.declarations == link.declared.changes &&
           (way.bindings_key.empty() || link.session.bindings().is_current(way.bindings_key, way.version));
}

namespace {

const std::string& exchange_type(const Link& link, const MessageHead& head) {
    const Exchange* const known = link.declared.exchange(head.exchange);
    return known ? known->type() : head.exchange_type;
}

void add_list(const Link& link, Way& way, const std::string& queue) {
    const auto* const record = link.declared.queue(queue);
    way.lists.push_back({link.keys.queue(queue, way.head->properties.priority.value_or(0)),
                         record ? record->expires : std::chrono::milliseconds{0}});
}

/// An exchange without bindings is there when it was declared here and this session has bound nothing to it: what
/// it had bound somebody else has undone.
bool is_known(const Link& link, const std::string& exchange) {
    if (!link.declared.exchange(exchange)) return false;
    for (const auto& [name, record] : link.declared.queues)
        for (const Declared::Bound& bound : record.bindings)
            if (bound.exchange == exchange) return false;
    return true;
}

async::Operation<> find_queues(Link& link, Way& way, bool again) {
    const MessageHead& head = *way.head;
    way.bindings_key = link.keys.bindings(head.exchange);
    std::vector<std::string> queues;
    bool nothing_bound = false;
    for (bool fresh = again;; fresh = true) {
        const BindingCache::Entry* const entry = co_await bindings_of(link, way.bindings_key, fresh);
        queues = route(entry->bindings, exchange_type(link, head), head.routing_key);
        nothing_bound = entry->bindings.empty();
        way.version = entry->version;
        // That nobody takes it must be true now, not only when the bindings were read.
        if (!queues.empty() || fresh) break;
    }
    way.is_lost = queues.empty();
    if (const std::string& dead = link.options.deadletter_queue; way.is_lost && !dead.empty()) {
        queues = {dead};
        log(LogLevel::warning, link.session.peer() + ": exchange '" + head.exchange + "' has no queue for '" +
                                   head.routing_key + "': the message goes to " + dead);
    } else if (way.is_lost && nothing_bound && !is_known(link, head.exchange)) {
        way.refusal = caught([&] { routing::not_found("exchange", head.exchange); });
    } else if (way.is_lost && head.mandatory) {
        way.refusal = caught([&] { routing::no_route(head.exchange, head.routing_key); });
    }
    for (const std::string& queue : queues) add_list(link, way, queue);
}

}  // namespace

async::Operation<std::shared_ptr<const Way>> find_way(Link& link, WayCache& cache,
                                                      std::shared_ptr<const MessageHead> head, bool again) {
    auto way = std::make_shared<Way>(Way{.head = head, .declarations = link.declared.changes});
    way->refusal = caught(
        [&] { way->frame.emplace(head->properties, head->exchange, head->routing_key, link.options.body_encoding); });
    if (way->refusal) {
        way->is_lost = true;
    } else if (head->exchange.empty()) {
        add_list(link, *way, head->routing_key);
    } else if (exchange_type(link, *head) == "fanout") {
        way->fanout = true;
        way->channel = link.keys.fanout(head->exchange, head->routing_key);
    } else {
        try {
            co_await find_queues(link, *way, again);
        } catch (const ChannelError&) {  // it costs the messages of this exchange, not the others
            way->is_lost = true;
            way->refusal = std::current_exception();
        }
    }
    // Where nobody takes it now somebody may at any time.
    const bool lasting = !way->is_lost && (way->bindings_key.empty() || link.session.is_tracking());
    cache.last = lasting ? way : nullptr;
    co_return way;
}

}  // namespace kombu::redis
