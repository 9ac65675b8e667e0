// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/capture_exception.hpp"
#include "redis/operations.hpp"
#include "virtual/amqp_errors.hpp"

#include <utility>

namespace kombu::redis {

bool is_current(const SessionContext& context, const Route& route) {
    if (route.declarations_version != context.declared.version) return false;
    if (route.bindings_key.empty() || route.current_at == context.bindings.changes()) return true;
    if (!context.bindings.is_current(route.bindings_key, route.bindings_version)) return false;
    route.current_at = context.bindings.changes();
    return true;
}

namespace {

const std::string& exchange_type(const SessionContext& context, const MessageMetadata& head) {
    const Exchange* const declared = context.declared.exchange(head.exchange);
    return declared ? declared->type() : head.exchange_type;
}

void add_list(const SessionContext& context, Route& route, const std::string& queue) {
    const auto* const record = context.declared.queue(queue);
    Route::List& list = route.lists.emplace_back();
    list.key = context.keys.queue(queue, route.head->properties.priority.value_or(0));
    append_command_header(list.push_command, 3);
    append_argument(list.push_command, "LPUSH");
    append_argument(list.push_command, list.key);
    if (record) list.expires = record->expires;
}

/// Whether an exchange without bindings exists: if this session has declared it and has bound nothing to it. A binding
/// of this session that is missing in Redis was removed by another client.
bool exchange_exists(const SessionContext& context, const std::string& exchange) {
    if (!context.declared.exchange(exchange)) return false;
    for (const auto& [name, record] : context.declared.queues)
        for (const DeclaredEntities::QueueBinding& bound : record.bindings)
            if (bound.exchange == exchange) return false;
    return true;
}

async::Operation<> resolve_queues(SessionContext& context, Route& route) {
    const MessageMetadata& head = *route.head;
    route.bindings_key = context.keys.bindings(head.exchange);
    append_command(route.bindings_command, {"SMEMBERS", route.bindings_key});
    std::vector<std::string> queues;
    bool nothing_bound = false;
    for (bool reload = false;; reload = true) {
        const KnownBindings::Entry* const entry = co_await load_bindings(context, route.bindings_key, reload);
        queues = matching_queues(entry->bindings, exchange_type(context, head), head.routing_key);
        nothing_bound = entry->bindings.empty();
        route.bindings_version = entry->version;
        // "No queue matches" must be true now, not only when the bindings were read before.
        if (!queues.empty() || reload) break;
    }
    route.is_unroutable = queues.empty();
    if (const std::string& deadletter_queue = context.options.deadletter_queue;
        route.is_unroutable && !deadletter_queue.empty()) {
        queues = {deadletter_queue};
        log(LogLevel::warning, context.session.peer() + ": exchange '" + head.exchange + "' has no queue for '" +
                                   head.routing_key + "': the message is sent to the dead-letter queue " +
                                   deadletter_queue);
    } else if (route.is_unroutable && nothing_bound && !exchange_exists(context, head.exchange)) {
        route.refusal = capture_exception([&] { routing::throw_not_found("exchange", head.exchange); });
    } else if (route.is_unroutable && head.mandatory) {
        route.refusal = capture_exception([&] { routing::throw_unroutable(head.exchange, head.routing_key); });
    }
    for (const std::string& queue : queues) add_list(context, route, queue);
}

bool has_same_destination(const MessageMetadata& a, const MessageMetadata& b) {
    return a.exchange == b.exchange && a.routing_key == b.routing_key && a.exchange_type == b.exchange_type &&
           a.mandatory == b.mandatory && a.properties.priority == b.properties.priority;
}

}  // namespace

std::shared_ptr<const Route> reuse_route(const SessionContext& context, RouteCache& cache,
                                         const std::shared_ptr<const MessageMetadata>& head) {
    if (!cache.last || !is_current(context, *cache.last)) return nullptr;
    if (cache.last->head == head) return cache.last;
    if (!has_same_destination(*cache.last->head, *head)) return nullptr;
    try {
        auto route = std::make_shared<Route>(*cache.last);
        route->head = head;
        route->envelope_template.emplace(head->properties, head->exchange, head->routing_key,
                                         context.options.body_encoding);
        return cache.last = std::move(route);
    } catch (const EncodeError&) {
        return nullptr;  // resolve_route() reports it
    }
}

async::Operation<std::shared_ptr<const Route>> resolve_route(SessionContext& context, RouteCache& cache,
                                                             std::shared_ptr<const MessageMetadata> head) {
    auto route = std::make_shared<Route>(Route{.head = head, .declarations_version = context.declared.version});
    route->refusal = capture_exception([&] {
        route->envelope_template.emplace(head->properties, head->exchange, head->routing_key,
                                         context.options.body_encoding);
    });
    if (route->refusal) {
        route->is_unroutable = true;
    } else if (head->exchange.empty()) {
        add_list(context, *route, head->routing_key);
    } else if (exchange_type(context, *head) == "fanout") {
        route->fanout = true;
        route->fanout_channel = context.keys.fanout_channel(head->exchange, head->routing_key);
    } else {
        try {
            co_await resolve_queues(context, *route);
        } catch (const ChannelError&) {  // fails the messages of this exchange, not the others
            route->is_unroutable = true;
            route->refusal = std::current_exception();
        }
    }
    // Not cached while unroutable: a queue may be bound at any time.
    cache.last = route->is_unroutable ? nullptr : route;
    co_return route;
}

}  // namespace kombu::redis
