// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"
#include "support/uuid.hpp"
#include "virtual/amqp_errors.hpp"
#include "virtual/routing.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {
namespace {

std::vector<std::string> make_command(std::string name, std::vector<std::string> keys) {
    keys.insert(keys.begin(), std::move(name));
    return keys;
}

async::Operation<std::uint32_t> count_messages(SessionContext& context, std::string queue) {
    const auto lists = context.keys.queue_lists(queue);
    for (const std::string& list : lists) context.session.send({"LLEN", list});
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < lists.size(); ++i) {
        const Reply length = co_await context.session.await_reply(Reply::Type::integer, "LLEN");
        sum += length.integer;
    }
    co_return static_cast<std::uint32_t>(sum);
}

/// Returns the bindings of a queue as pairs of set and member. Searches the sets of all exchanges, since Redis has no
/// index by queue; scans them in pieces, so that other clients are not blocked.
async::Operation<std::vector<std::pair<std::string, std::string>>> find_bindings_of_queue(SessionContext& context,
                                                                                          std::string queue) {
    Session& session = context.session;
    const std::string pattern = context.keys.bindings_pattern();
    const std::string member = '*' + escape_glob(context.options.separator + queue);
    std::vector<std::string> sets;
    std::string cursor = "0";
    do {
        session.send({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"});
        const Reply page = co_await session.await_reply(Reply::Type::array, "SCAN");
        if (page.elements.size() != 2) unexpected_reply(session.peer(), "SCAN");
        cursor = page.elements[0].text;
        for (const Reply& key : page.elements[1].elements) sets.push_back(key.text);
    } while (cursor != "0");
    std::sort(sets.begin(), sets.end());
    sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
    std::vector<std::pair<std::string, std::string>> found;
    for (const std::string& set : sets) {
        do {
            session.send({"SSCAN", set, cursor, "MATCH", member, "COUNT", "1000"});
            const Reply page = co_await session.await_reply(Reply::Type::array, "SSCAN");
            if (page.elements.size() != 2) unexpected_reply(session.peer(), "SSCAN");
            cursor = page.elements[0].text;
            for (const Reply& each : page.elements[1].elements)
                if (BoundQueue::parse(each.text, context.options.separator).queue == queue)
                    found.emplace_back(set, each.text);
        } while (cursor != "0");
    }
    co_return found;
}

async::Operation<bool> queue_exists(SessionContext& context, std::string queue) {
    context.session.send(make_command("EXISTS", context.keys.queue_lists(queue)));
    const Reply existing_lists = co_await context.session.await_reply(Reply::Type::integer, "EXISTS");
    if (existing_lists.integer != 0) co_return true;
    const DeclaredEntities::QueueRecord* const record = context.declared.queue(queue);
    if (record && !record->ever_bound) co_return true;
    if (record) {
        for (const DeclaredEntities::QueueBinding& bound : record->bindings) {
            context.session.send({"SISMEMBER", context.keys.bindings(bound.exchange),
                                  bound.to.to_set_member(context.options.separator)});
            const Reply is_bound = co_await context.session.await_reply(Reply::Type::integer, "SISMEMBER");
            if (is_bound.integer != 0) co_return true;
        }
    }
    const auto bindings = co_await find_bindings_of_queue(context, queue);
    co_return !bindings.empty();
}

async::Operation<bool> has_bindings(SessionContext& context, std::string exchange) {
    context.session.send({"EXISTS", context.keys.bindings(exchange)});
    const Reply existing_sets = co_await context.session.await_reply(Reply::Type::integer, "EXISTS");
    co_return existing_sets.integer != 0;
}

std::string declared_exchange_type(const SessionContext& context, std::string_view exchange) {
    const Exchange* const declared = context.declared.exchange(exchange);
    return declared ? declared->type() : "direct";
}

}  // namespace

async::Operation<> declare_exchange(SessionContext& context, Exchange exchange) {
    const Exchange* const existing = context.declared.exchange(exchange.name());
    if (exchange.options().passive) {
        if (existing) co_return;
        const bool found = co_await has_bindings(context, exchange.name());
        if (!found) routing::throw_not_found("exchange", exchange.name());
        co_return;
    }
    if (exchange.type() == "headers")
        throw ChannelError("NOT_IMPLEMENTED - Kombu has no format for headers exchanges on Redis", 540);
    if (!routing::is_exchange_type(exchange.type()))
        routing::throw_precondition_failed("unknown exchange type '" + exchange.type() + "'");
    if (existing)
        routing::check_equivalent(*existing, exchange);
    else
        context.declared.add(std::move(exchange));
}

async::Operation<> delete_exchange(SessionContext& context, std::string name, bool if_unused) {
    const std::string key = context.keys.bindings(name);
    if (if_unused) {
        const bool used = co_await has_bindings(context, name);
        if (used) routing::throw_precondition_failed("exchange '" + name + "' is in use");
    }
    context.session.send({"DEL", key});
    co_await context.session.await_reply(Reply::Type::integer, "DEL");
    context.bindings.forget(key);
    context.declared.remove_exchange(name);
}

async::Operation<QueueInfo> declare_queue(SessionContext& context, Queue queue) {
    const std::string name = queue.name().empty() ? "amq.gen-" + make_uuid() : queue.name();
    const DeclaredEntities::QueueRecord* const existing = context.declared.queue(name);
    if (queue.options().passive) {
        const bool found = co_await queue_exists(context, name);
        if (!found) routing::throw_not_found("queue", name);
    } else if (existing) {
        routing::check_equivalent(existing->queue, queue);
    }
    const std::uint32_t messages = co_await count_messages(context, name);
    if (!queue.options().passive && !context.declared.queue(name)) {
        DeclaredEntities::QueueRecord record{.queue = queue};
        const Json& arguments = queue.declare_arguments();
        if (const auto expires = arguments.find("x-expires");
            expires != arguments.end() && expires->is_number_integer())
            record.expires = std::chrono::milliseconds{expires->get<std::int64_t>()};
        context.declared.add(name, std::move(record));
    }
    co_return QueueInfo{name, messages, 0};
}

async::Operation<> bind_queue(SessionContext& context, std::string queue, std::string exchange, std::string routing_key,
                              Json arguments) {
    if (exchange.empty()) co_return;  // every queue is bound to the default exchange by its name
    if (!arguments.empty()) throw ChannelError("NOT_IMPLEMENTED - bindings on Redis cannot have arguments", 540);
    const std::string type = declared_exchange_type(context, exchange);
    const std::string key = context.keys.bindings(exchange);
    const BoundQueue bound = BoundQueue::make(type, type == "fanout" ? "" : routing_key, queue);
    const std::string member = bound.to_set_member(context.options.separator);
    context.session.send({"SADD", key, member});
    const Reply added = co_await context.session.await_reply();
    if (error_prefix(added) == "OOM") {
        // A consumer must be able to drain the queues of a server out of memory.
        context.session.send({"SISMEMBER", key, member});
        const Reply is_bound = co_await context.session.await_reply(Reply::Type::integer, "SISMEMBER");
        if (is_bound.integer == 0) throw_if_error(added, context.session.peer());
    } else {
        throw_if_error(added, context.session.peer());
    }
    context.bindings.forget(key);
    DeclaredEntities::QueueRecord* const record = context.declared.mutable_queue(queue);
    if (!record) co_return;
    record->ever_bound = true;
    const auto same = [&](const DeclaredEntities::QueueBinding& other) {
        return other.exchange == exchange && other.to.routing_key == bound.routing_key;
    };
    if (std::none_of(record->bindings.begin(), record->bindings.end(), same))
        record->bindings.push_back({exchange, bound});
    const std::pair fanout{exchange, routing_key};
    if (type == "fanout" && std::find(record->fanout_bindings.begin(), record->fanout_bindings.end(), fanout) ==
                                record->fanout_bindings.end())
        record->fanout_bindings.push_back(fanout);
}

async::Operation<> unbind_queue(SessionContext& context, std::string queue, std::string exchange,
                                std::string routing_key) {
    const std::string key = context.keys.bindings(exchange);
    const std::string& separator = context.options.separator;
    // The client that made the binding may have assumed another exchange type.
    const std::string plain = BoundQueue::make("direct", routing_key, queue).to_set_member(separator);
    const std::string topic = BoundQueue::make("topic", routing_key, queue).to_set_member(separator);
    const std::string fanout = BoundQueue::make("fanout", "", queue).to_set_member(separator);
    if (declared_exchange_type(context, exchange) == "fanout")
        context.session.send({"SREM", key, fanout});
    else
        context.session.send({"SREM", key, plain, topic});
    co_await context.session.await_reply(Reply::Type::integer, "SREM");
    context.bindings.forget(key);
    if (DeclaredEntities::QueueRecord* const record = context.declared.mutable_queue(queue)) {
        std::erase_if(record->bindings, [&](const DeclaredEntities::QueueBinding& bound) {
            return bound.exchange == exchange && bound.to.routing_key == routing_key;
        });
        std::erase(record->fanout_bindings, std::pair{exchange, routing_key});
    }
}

async::Operation<> refuse_exchange_binding() {
    throw ChannelError("NOT_IMPLEMENTED - Kombu has no format for bindings between exchanges on Redis", 540);
    co_return;
}

async::Operation<std::uint32_t> purge_queue(SessionContext& context, std::string name) {
    ScriptArguments lists{.keys = context.keys.queue_lists(name)};
    const Reply count = co_await run_script(context.session, purge_script(), std::move(lists));
    if (!count.is(Reply::Type::integer)) unexpected_reply(context.session.peer(), "a script");
    co_return static_cast<std::uint32_t>(count.integer);
}

async::Operation<std::uint32_t> delete_queue(SessionContext& context, std::string name, bool if_empty) {
    if (if_empty) {
        const std::uint32_t messages = co_await count_messages(context, name);
        if (messages != 0) routing::throw_precondition_failed("queue '" + name + "' is not empty");
    }
    const auto bindings = co_await find_bindings_of_queue(context, name);
    for (const auto& [set, member] : bindings) {
        context.session.send({"SREM", set, member});
        co_await context.session.await_reply(Reply::Type::integer, "SREM");
        context.bindings.forget(set);
    }
    const std::uint32_t messages = co_await purge_queue(context, name);
    context.declared.remove_queue(name);
    co_return messages;
}

void delete_exclusive_queues(SessionContext& context) {
    for (const auto& [name, record] : context.declared.queues) {
        if (!record.queue.exclusive()) continue;
        for (const DeclaredEntities::QueueBinding& bound : record.bindings) {
            context.session.send(
                {"SREM", context.keys.bindings(bound.exchange), bound.to.to_set_member(context.options.separator)});
            context.session.ignore_reply();
        }
        context.session.send(make_command("DEL", context.keys.queue_lists(name)));
        context.session.ignore_reply();
    }
}

async::Operation<const KnownBindings::Entry*> load_bindings(SessionContext& context, std::string key, bool reload) {
    if (!reload)
        if (const KnownBindings::Entry* const known = context.bindings.find(key)) co_return known;
    context.session.send({"SMEMBERS", key});
    const Reply members = co_await context.session.await_reply(Reply::Type::array, "SMEMBERS");
    co_return &context.bindings.store(key, members, context.options.separator);
}

}  // namespace kombu::redis
