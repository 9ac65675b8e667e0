#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {
namespace {

/// How often a server is asked that does not tell when something comes.
constexpr std::chrono::milliseconds poll_interval{50};

void say_set_aside(Link& link, const std::string& queue, const std::string& what) {
    log(LogLevel::error, link.session.peer() + ": " + what + " in the queue " + queue +
                             " cannot be delivered and was set aside in the list " + link.keys.poison(queue));
}

/// Sets a message aside that only this side finds wanting.
async::Operation<> set_aside(Link& link, std::string queue, std::string item, std::string tag, std::string since,
                             std::string why) {
    if (tag.empty()) {
        link.session.send({"LPUSH", link.keys.poison(queue), item});
        co_await link.session.reply(Reply::Type::integer, "LPUSH");
    } else {
        std::vector<std::string> keys{link.keys.unacked(), link.keys.unacked_index(), link.keys.poison(queue)};
        std::vector<std::string> arguments{tag, since, "2", std::to_string(item.size() + 1)};
        co_await run_script(link.session, restore_script(), std::move(keys), std::move(arguments));
    }
    say_set_aside(link, queue, "a message (" + why + ")");
}

/// What one look at a queue gave.
struct Look {
    std::size_t aside = 0;
    std::optional<Taken> taken{};
};

async::Operation<Look> look(Link& link, const std::string& queue, bool record) {
    const auto lists = link.keys.all_of_queue(queue);
    std::vector<std::string> keys{link.keys.unacked(), link.keys.unacked_index(), link.keys.poison(queue)};
    keys.insert(keys.end(), lists.begin(), lists.end());
    std::vector<std::string> arguments{record ? "1" : "0", envelope::held_suffix(queue), std::to_string(max_envelope)};
    Reply reply = co_await run_script(link.session, take_script(), std::move(keys), std::move(arguments));
    std::vector<Reply>& parts = reply.elements;
    if (!reply.is(Reply::Type::array) || (parts.size() != 1 && parts.size() != 5))
        unexpected(link.session.peer(), "a script");
    Look seen{.aside = static_cast<std::size_t>(std::max<std::int64_t>(parts[0].integer, 0))};
    if (seen.aside != 0) say_set_aside(link, queue, std::to_string(seen.aside) + " message(s)");
    if (parts.size() == 1) co_return seen;

    std::string item = std::move(parts[1].text);
    const auto list = static_cast<std::size_t>(parts[2].integer);
    if (list >= lists.size()) unexpected(link.session.peer(), "a script");
    Taken taken{.list = lists[list]};
    if (record) {
        taken.tag = std::move(parts[3].text);
        taken.since = std::move(parts[4].text);
    }
    std::string why;
    auto opened = envelope::open(item, why);
    if (!opened) {
        co_await set_aside(link, queue, std::move(item), taken.tag, taken.since, why);
        ++seen.aside;
        co_return seen;
    }
    taken.delivery = std::move(opened->delivery);
    taken.marks = envelope::redelivery(item);
    taken.envelope_size = item.size();
    if (!record) taken.envelope = std::move(item);
    seen.taken = std::move(taken);
    co_return seen;
}

}  // namespace

async::Operation<std::optional<Taken>> take(Link& link, std::string queue, bool record, Deadline until) {
    const bool restores = link.restoring.due();
    if (restores) co_await restore_expired(link, until);
    for (;;) {
        Look seen = co_await look(link, queue, record);
        if (seen.taken || seen.aside == 0) co_return std::move(seen.taken);
    }
}

std::optional<Taken> take_from(Inbox& inbox, const std::string& peer) {
    while (!inbox.empty()) {
        std::string item = inbox.take(), why;
        auto opened = envelope::open(item, why);
        if (!opened) {
            log(LogLevel::error, peer + ": a message of a fanout exchange cannot be delivered: " + why);
            continue;
        }
        Taken taken{.delivery = std::move(opened->delivery)};
        taken.marks = envelope::redelivery(item);
        taken.envelope_size = item.size();
        taken.envelope = std::move(item);
        return taken;
    }
    return std::nullopt;
}

async::Operation<std::optional<Taken>> wait_for_message(Link& link, std::string queue, bool record, Inbox* inbox,
                                                        Deadline until) {
    Session& session = link.session;
    const auto lists = link.keys.all_of_queue(queue);
    for (;;) {
        std::optional<Taken> taken = inbox ? take_from(*inbox, session.peer()) : std::nullopt;
        if (!taken) taken = co_await take(link, queue, record, until);
        if (!taken && inbox) taken = take_from(*inbox, session.peer());  // it came with the answer
        if (taken || until.expired()) co_return taken;

        const bool told = session.is_tracking();
        if (told) {
            // Watched before it is looked whether there is anything: whatever comes between is noticed.
            session.watch(lists);
            session.send({"CLIENT", "CACHING", "YES"});
            std::vector<std::string> exists{"EXISTS"};
            exists.insert(exists.end(), lists.begin(), lists.end());
            session.send(exists);
            co_await session.reply(Reply::Type::status, "CLIENT CACHING");
            const Reply there = co_await session.reply(Reply::Type::integer, "EXISTS");
            if (there.integer != 0) continue;
        }
        const auto pause = told ? link.options.polling_interval
                                : std::min<std::chrono::nanoseconds>(link.options.polling_interval, poll_interval);
        const Deadline again = std::min({until, Deadline::after(pause), link.restoring.next()});
        while (!again.expired() && !(told && session.watched_key_changed()) && !(inbox && !inbox->empty())) {
            co_await async::AwaitInput{again};
            session.check();
        }
    }
}

async::Operation<> listen(Link& link, std::string queue, Inbox& inbox) {
    const Declared::QueueRecord* const record = link.declared.queue(queue);
    if (!record) co_return;
    if (!link.session.is_tracking() && !record->fanouts.empty())
        throw ChannelError("NOT_IMPLEMENTED - messages of fanout exchanges can be received from Redis 6 on", 540);
    for (const auto& [exchange, key] : record->fanouts)
        for (const std::string& pattern : link.keys.fanout_patterns(exchange, key))
            if (link.session.subscriptions().add(pattern, inbox)) link.session.subscribe(pattern);
    while (link.session.is_subscribing()) {
        co_await async::AwaitInput{};
        link.session.check();
    }
    if (const auto refusal = link.session.take_refusal()) {
        stop_listening(link, inbox);
        throw_if_error(*refusal, link.session.peer());
    }
}

void stop_listening(Link& link, Inbox& inbox) {
    for (const std::string& pattern : link.session.subscriptions().remove(inbox)) link.session.unsubscribe(pattern);
    inbox.clear();
}

}  // namespace kombu::redis
