#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"
#include "support/uuid.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {
namespace {

/// How many messages are given back in one go.
constexpr std::size_t page_size = 100;
constexpr std::size_t page_bytes = std::size_t{1} << 20;

struct Call {
    std::vector<std::string> keys{}, arguments{};
};

/// What restore_script() needs to give back the part of a record that is an envelope. Marks count from its beginning.
Call restore_call(const Link& link, std::vector<std::string> lists, std::string tag, std::string since,
                  json_text::Span envelope, const std::vector<envelope::Insertion>& marks) {
    Call call;
    call.keys = {link.keys.unacked(), link.keys.unacked_index()};
    call.keys.insert(call.keys.end(), lists.begin(), lists.end());
    call.arguments = {std::move(tag), std::move(since), std::to_string(envelope.begin + 1),
                      std::to_string(envelope.end)};
    for (const envelope::Insertion& mark : marks) {
        call.arguments.push_back(std::to_string(envelope.begin + mark.at));
        call.arguments.emplace_back(mark.text);
    }
    return call;
}

Call restore_call(const Link& link, const Taken& taken) {
    // The record is the envelope with one bracket before it.
    return restore_call(link, {taken.list}, taken.tag, taken.since, {1, 1 + taken.envelope_size}, taken.marks);
}

}  // namespace

std::string redelivered(const Taken& taken) {
    std::string text;
    std::size_t from = 0;
    for (const envelope::Insertion& mark : taken.marks) {
        text.append(taken.envelope, from, mark.at - from).append(mark.text);
        from = mark.at;
    }
    return text.append(taken.envelope, from);
}

async::Operation<> acknowledge(Link& link, std::string tag) {
    Session& session = link.session;
    // Not by a transaction: a server without memory takes none, and needs to be emptied. A name without a record is
    // nothing, and is removed by whoever comes across it.
    session.send({"HDEL", link.keys.unacked(), tag});
    session.send({"ZREM", link.keys.unacked_index(), tag});
    const Reply record = co_await session.reply();
    const Reply name = co_await session.reply();
    throw_if_error(record, session.peer());
    throw_if_error(name, session.peer());
}

async::Operation<> give_back(Link& link, const Taken& taken) {
    if (taken.tag.empty()) {
        link.session.send({"RPUSH", taken.list, redelivered(taken)});
        co_await link.session.reply(Reply::Type::integer, "RPUSH");
    } else {
        Call call = restore_call(link, taken);
        co_await run_script(link.session, restore_script(), std::move(call.keys), std::move(call.arguments));
    }
}

void give_back_nowait(Link& link, const Taken& taken) {
    if (taken.tag.empty()) {
        link.session.send_and_forget({"RPUSH", taken.list, redelivered(taken)});
    } else {
        const Call call = restore_call(link, taken);
        link.session.send_script(restore_script(), call.keys, call.arguments, true);
    }
}

namespace {

/// Where a message goes back to that somebody has held for too long. One that was taken here names its queue by way of
/// the default exchange. Of another only the exchange is known, as in Kombu.
async::Operation<std::vector<std::string>> way_back(Link& link, const envelope::Held& held) {
    std::vector<std::string> queues;
    if (held.exchange.empty()) {
        if (!held.routing_key.empty()) queues.push_back(held.routing_key);
    } else {
        const auto* const bindings = co_await bindings_of(link, link.keys.bindings(held.exchange), false);
        const Exchange* const known = link.declared.exchange(held.exchange);
        queues = route(bindings->bindings, known ? known->type() : "direct", held.routing_key);
    }
    std::vector<std::string> lists;
    for (const std::string& queue : queues) lists.push_back(link.keys.queue(queue, held.priority));
    co_return lists;
}

async::Operation<> restore_one(Link& link, std::string tag, std::string since, std::string record) {
    const auto held = envelope::parse_held(record);
    std::vector<std::string> lists;
    if (held) lists = co_await way_back(link, *held);
    Call call;
    if (!lists.empty()) {
        std::vector<envelope::Insertion> marks = envelope::redelivery(record, held->envelope.begin);
        for (envelope::Insertion& mark : marks) mark.at -= held->envelope.begin;
        call = restore_call(link, std::move(lists), tag, since, held->envelope, marks);
    } else {
        const std::string poison = link.keys.poison(held ? held->routing_key : link.options.unacked_key);
        log(LogLevel::error, link.session.peer() + ": a message that was held for too long " +
                                 (held ? "has no queue to go back to" : "is recorded in a way that nobody can read") +
                                 " and was set aside in the list " + poison);
        call = restore_call(link, {poison}, tag, since, held ? held->envelope : json_text::Span{0, record.size()}, {});
    }
    co_await run_script(link.session, restore_script(), std::move(call.keys), std::move(call.arguments));
}

/// A record that cannot be given back stays, and keeps none of the others from it.
async::Operation<> try_to_restore(Link& link, const Reply& tag, const Reply& since, const Reply& record) {
    try {
        co_await restore_one(link, tag.text, since.text, record.text);
    } catch (const ChannelError& error) {
        link.session.begin();  // nobody waits for what it had still to be told
        log(LogLevel::error,
            link.session.peer() + ": a message that was held for too long cannot be given back: " + error.what());
    }
}

async::Operation<> restore_pages(Link& link, const std::string& token, Deadline until) {
    const std::size_t limit = link.options.unacked_restore_limit;
    const auto expire = std::chrono::duration_cast<std::chrono::milliseconds>(link.options.unacked_mutex_expire);
    const std::string timeout = std::to_string(std::chrono::duration<double>(link.options.visibility_timeout).count());
    std::size_t restored = 0;
    std::string last_failed;
    for (bool first = true;; first = false) {
        const std::size_t most = limit == 0 ? page_size : std::min(page_size, limit - restored);
        std::vector<std::string> keys{link.keys.unacked(), link.keys.unacked_index(), link.keys.unacked_mutex()};
        std::vector<std::string> arguments{token,
                                           std::to_string(std::max<std::int64_t>(expire.count(), 1)),
                                           timeout,
                                           std::to_string(most),
                                           first ? "1" : "0",
                                           std::to_string(page_bytes)};
        const Reply page = co_await run_script(link.session, expired_script(), std::move(keys), std::move(arguments));
        if (!page.is(Reply::Type::array) || page.elements.empty()) co_return;  // somebody else does it, or all is done
        const auto& found = page.elements;
        if (found[0].text == last_failed) break;  // what is left cannot be given back
        last_failed = found[0].text;
        for (std::size_t i = 0; i + 2 < found.size(); i += 3)
            co_await try_to_restore(link, found[i], found[i + 1], found[i + 2]);
        restored += found.size() / 3;
        if (limit != 0 && restored >= limit) break;
        if (until.expired()) {
            link.restoring.not_done();
            break;
        }
    }
    std::vector<std::string> mutex{link.keys.unacked_mutex()}, held_by{token};
    co_await run_script(link.session, release_script(), std::move(mutex), std::move(held_by));
}

}  // namespace

async::Operation<> restore_expired(Link& link, Deadline until) {
    const std::string token = make_uuid();
    std::string refusal;
    try {
        co_await restore_pages(link, token, until);
        co_return;
    } catch (const ChannelError& error) {
        // An innocent consumer asked for something else.
        refusal = error.what();
    }
    link.session.begin();
    log(LogLevel::error,
        link.session.peer() + ": messages that were held for too long cannot be given back: " + refusal);
    const std::vector<std::string> mutex{link.keys.unacked_mutex()}, held_by{token};
    link.session.send_script(release_script(), mutex, held_by, true);
}

}  // namespace kombu::redis
