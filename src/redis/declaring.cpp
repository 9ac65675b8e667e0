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

std::vector<std::string> command(std::string name, std::vector<std::string> keys) {
    keys.insert(keys.begin(), std::move(name));
    return keys;
}

/// How many messages a queue has.
async::Operation<std::uint32_t> count(Link& link, std::string queue) {
    const auto lists = link.keys.all_of_queue(queue);
    for (const std::string& list : lists) link.session.send({"LLEN", list});
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < lists.size(); ++i) {
        const Reply length = co_await link.session.reply(Reply::Type::integer, "LLEN");
        sum += length.integer;
    }
    co_return static_cast<std::uint32_t>(sum);
}

/// The sets that bind something to a queue, with the members that do. Looks at all sets of bindings, as nothing else
/// tells; in pieces, so that nobody else has to wait.
async::Operation<std::vector<std::pair<std::string, std::string>>> bindings_to(Link& link, std::string queue) {
    Session& session = link.session;
    const std::string pattern = link.keys.all_bindings();
    const std::string member = '*' + escaped_glob(link.options.separator + queue);
    std::vector<std::string> sets;
    std::string cursor = "0";
    do {
        session.send({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"});
        const Reply page = co_await session.reply(Reply::Type::array, "SCAN");
        if (page.elements.size() != 2) unexpected(session.peer(), "SCAN");
        cursor = page.elements[0].text;
        for (const Reply& key : page.elements[1].elements) sets.push_back(key.text);
    } while (cursor != "0");
    std::sort(sets.begin(), sets.end());
    sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
    std::vector<std::pair<std::string, std::string>> found;
    for (const std::string& set : sets) {
        do {
            session.send({"SSCAN", set, cursor, "MATCH", member, "COUNT", "1000"});
            const Reply page = co_await session.reply(Reply::Type::array, "SSCAN");
            if (page.elements.size() != 2) unexpected(session.peer(), "SSCAN");
            cursor = page.elements[0].text;
            for (const Reply& each : page.elements[1].elements)
                if (BoundQueue::parse(each.text, link.options.separator).queue == queue)
                    found.emplace_back(set, each.text);
        } while (cursor != "0");
    }
    co_return found;
}

async::Operation<bool> exists(Link& link, std::string queue) {
    link.session.send(command("EXISTS", link.keys.all_of_queue(queue)));
    const Reply there = co_await link.session.reply(Reply::Type::integer, "EXISTS");
    if (there.integer != 0) co_return true;
    const Declared::QueueRecord* const record = link.declared.queue(queue);
    if (record && !record->was_bound) co_return true;
    if (record) {
        for (const Declared::Bound& bound : record->bindings) {
            link.session.send(
                {"SISMEMBER", link.keys.bindings(bound.exchange), bound.to.member(link.options.separator)});
            const Reply is_bound = co_await link.session.reply(Reply::Type::integer, "SISMEMBER");
            if (is_bound.integer != 0) co_return true;
        }
    }
    const auto bindings = co_await bindings_to(link, queue);
    co_return !bindings.empty();
}

async::Operation<bool> has_bindings(Link& link, std::string exchange) {
    link.session.send({"EXISTS", link.keys.bindings(exchange)});
    const Reply there = co_await link.session.reply(Reply::Type::integer, "EXISTS");
    co_return there.integer != 0;
}

std::string type_of(const Link& link, std::string_view exchange) {
    const Exchange* const known = link.declared.exchange(exchange);
    return known ? known->type() : "direct";
}

}  // namespace

async::Operation<> declare_exchange(Link& link, Exchange exchange) {
    const Exchange* const known = link.declared.exchange(exchange.name());
    if (exchange.options().passive) {
        if (known) co_return;
        const bool there = co_await has_bindings(link, exchange.name());
        if (!there) routing::not_found("exchange", exchange.name());
        co_return;
    }
    if (exchange.type() == "headers")
        throw ChannelError("NOT_IMPLEMENTED - a headers exchange cannot be written down in Redis as Kombu does it",
                           540);
    if (!routing::is_exchange_type(exchange.type()))
        routing::precondition_failed("unknown exchange type '" + exchange.type() + "'");
    if (known)
        routing::check_equivalent(*known, exchange);
    else
        link.declared.add(std::move(exchange));
}

async::Operation<> delete_exchange(Link& link, std::string name, bool if_unused) {
    const std::string key = link.keys.bindings(name);
    if (if_unused) {
        const bool used = co_await has_bindings(link, name);
        if (used) routing::precondition_failed("exchange '" + name + "' is in use");
    }
    link.session.send({"DEL", key});
    co_await link.session.reply(Reply::Type::integer, "DEL");
    link.session.bindings().forget(key);
    link.declared.remove_exchange(name);
}

async::Operation<QueueInfo> declare_queue(Link& link, Queue queue) {
    const std::string name = queue.name().empty() ? "amq.gen-" + make_uuid() : queue.name();
    const Declared::QueueRecord* const known = link.declared.queue(name);
    if (queue.options().passive) {
        const bool there = co_await exists(link, name);
        if (!there) routing::not_found("queue", name);
    } else if (known) {
        routing::check_equivalent(known->queue, queue);
    }
    const std::uint32_t messages = co_await count(link, name);
    if (!queue.options().passive && !link.declared.queue(name)) {
        Declared::QueueRecord record{.queue = queue};
        const Json& arguments = queue.declare_arguments();
        if (const auto expires = arguments.find("x-expires"); expires != arguments.end() && expires->is_number())
            record.expires = std::chrono::milliseconds{expires->get<std::int64_t>()};
        link.declared.add(name, std::move(record));
    }
    co_return QueueInfo{name, messages, 0};
}

async::Operation<> bind_queue(Link& link, std::string queue, std::string exchange, std::string routing_key,
                              Json arguments) {
    if (exchange.empty()) co_return;  // every queue is bound to it, by its name
    if (!arguments.empty()) throw ChannelError("NOT_IMPLEMENTED - bindings in Redis have no arguments", 540);
    const std::string type = type_of(link, exchange);
    const std::string key = link.keys.bindings(exchange);
    const BoundQueue bound = BoundQueue::make(type, type == "fanout" ? "" : routing_key, queue);
    link.session.send({"SADD", key, bound.member(link.options.separator)});
    co_await link.session.reply(Reply::Type::integer, "SADD");
    link.session.bindings().forget(key);
    Declared::QueueRecord* const record = link.declared.change_queue(queue);
    if (!record) co_return;
    record->was_bound = true;
    const auto same = [&](const Declared::Bound& other) {
        return other.exchange == exchange && other.to.routing_key == bound.routing_key;
    };
    if (std::none_of(record->bindings.begin(), record->bindings.end(), same))
        record->bindings.push_back({exchange, bound});
    const std::pair fanout{exchange, routing_key};
    if (type == "fanout" && std::find(record->fanouts.begin(), record->fanouts.end(), fanout) == record->fanouts.end())
        record->fanouts.push_back(fanout);
}

async::Operation<> unbind_queue(Link& link, std::string queue, std::string exchange, std::string routing_key) {
    const std::string key = link.keys.bindings(exchange);
    const std::string& separator = link.options.separator;
    // Whoever bound it may have taken the exchange for another type.
    const std::string plain = BoundQueue::make("direct", routing_key, queue).member(separator);
    const std::string topic = BoundQueue::make("topic", routing_key, queue).member(separator);
    const std::string fanout = BoundQueue::make("fanout", "", queue).member(separator);
    if (type_of(link, exchange) == "fanout")
        link.session.send({"SREM", key, fanout});
    else
        link.session.send({"SREM", key, plain, topic});
    co_await link.session.reply(Reply::Type::integer, "SREM");
    link.session.bindings().forget(key);
    if (Declared::QueueRecord* const record = link.declared.change_queue(queue)) {
        std::erase_if(record->bindings, [&](const Declared::Bound& bound) {
            return bound.exchange == exchange && bound.to.routing_key == routing_key;
        });
        std::erase(record->fanouts, std::pair{exchange, routing_key});
    }
}

async::Operation<std::uint32_t> purge_queue(Link& link, std::string name) {
    const Reply count =
        co_await run_script(link.session, purge_script(), link.keys.all_of_queue(name), std::vector<std::string>());
    if (!count.is(Reply::Type::integer)) unexpected(link.session.peer(), "a script");
    co_return static_cast<std::uint32_t>(count.integer);
}

async::Operation<std::uint32_t> delete_queue(Link& link, std::string name, bool if_empty) {
    if (if_empty) {
        const std::uint32_t messages = co_await count(link, name);
        if (messages != 0) routing::precondition_failed("queue '" + name + "' is not empty");
    }
    const auto bindings = co_await bindings_to(link, name);
    for (const auto& [set, member] : bindings) {
        link.session.send({"SREM", set, member});
        co_await link.session.reply(Reply::Type::integer, "SREM");
        link.session.bindings().forget(set);
    }
    const std::uint32_t messages = co_await purge_queue(link, name);
    link.declared.remove_queue(name);
    co_return messages;
}

void delete_exclusive_queues(Link& link) {
    for (const auto& [name, record] : link.declared.queues) {
        if (!record.queue.exclusive()) continue;
        for (const Declared::Bound& bound : record.bindings)
            link.session.send_and_forget(
                {"SREM", link.keys.bindings(bound.exchange), bound.to.member(link.options.separator)});
        link.session.send_and_forget(command("DEL", link.keys.all_of_queue(name)));
    }
}

async::Operation<const BindingCache::Entry*> bindings_of(Link& link, std::string key, bool fresh) {
    Session& session = link.session;
    const bool tracked = session.is_tracking();
    if (tracked && !fresh)
        if (const BindingCache::Entry* const known = session.bindings().find(key)) co_return known;
    const std::uint64_t version = session.bindings().begin_reading(key);
    if (tracked) session.send({"CLIENT", "CACHING", "YES"});
    session.send({"SMEMBERS", key});
    if (tracked) co_await session.reply(Reply::Type::status, "CLIENT CACHING");
    const Reply members = co_await session.reply(Reply::Type::array, "SMEMBERS");
    std::vector<BoundQueue> bindings;
    for (const Reply& member : members.elements)
        bindings.push_back(BoundQueue::parse(member.text, link.options.separator));
    const BindingCache::Entry* const entry = &session.bindings().store(key, version, std::move(bindings));
    co_return entry;
}

}  // namespace kombu::redis
