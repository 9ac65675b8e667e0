#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"
#include "uuid.hpp"
#include "virtual/declared.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace kombu::redis {

const envelope::Frame& FrameCache::frame_for(const OutgoingMessage& message, envelope::BodyEncoding encoding) {
    const bool same = frame_ && message.exchange == exchange_ && message.routing_key == routing_key_ &&
                      message.properties == properties_;
    if (!same) {
        frame_.emplace(message.properties, message.exchange, message.routing_key, encoding);
        properties_ = message.properties;
        exchange_ = message.exchange;
        routing_key_ = message.routing_key;
    }
    return *frame_;
}

namespace {

constexpr int max_corrections = 5;
/// What goes out in one command at most.
constexpr std::size_t max_together = 512;
constexpr std::size_t max_bytes_together = std::size_t{1} << 20;

/// A copy of a message in one queue, on its way.
struct Copy {
    std::size_t message = 0;
    std::string list{};
    std::chrono::milliseconds expires{0};
    std::string tag{};
};

/// Where a message goes, and by which state of the bindings that is so.
struct Way {
    std::vector<std::string> queues{};
    std::string bindings_key{};
    std::uint64_t version = 0;
};

class Publishing {
public:
    Publishing(Link& link, FrameCache& frames, std::span<const OutgoingMessage> messages,
               std::span<std::exception_ptr> results)
        : link_(link), frames_(frames), messages_(messages), results_(results), failed_(messages.size()), ways_(messages.size()) {}

    Operation<> run() {
        for (std::size_t i = 0; i < messages_.size(); ++i) {
            const bool needs_bindings = !resolve_at_once(i);
            if (needs_bindings) co_await resolve(i, false);
        }
        std::vector<Copy> copies;
        for (std::size_t i = 0; i < messages_.size(); ++i)
            if (!failed_[i]) add_copies(copies, i, ways_[i].queues);
        co_await send(copies);
        for (int n = 0; n < max_corrections; ++n) {
            const bool changed = link_.session.is_tracking() && !all_current();
            if (!changed) break;
            co_await correct(copies);
        }
        for (std::size_t i = 0; i < messages_.size(); ++i)
            if (!failed_[i]) results_[i] = nullptr;
    }

private:
    std::string exchange_type(const OutgoingMessage& message) const {
        const Exchange* const known = link_.declared.exchange(message.exchange);
        return known ? known->type() : message.exchange_type;
    }
    bool is_fanout(const OutgoingMessage& message) const {
        return !message.exchange.empty() && exchange_type(message) == "fanout";
    }

    /// When nothing has to be asked for it.
    bool resolve_at_once(std::size_t i) {
        const OutgoingMessage& message = messages_[i];
        if (message.exchange.empty()) {
            ways_[i].queues = {message.routing_key};
            return true;
        }
        if (is_fanout(message)) return true;
        if (!link_.session.is_tracking()) return false;
        std::string key = link_.keys.bindings(message.exchange);
        const BindingCache::Entry* const known = link_.session.bindings().find(key);
        if (!known) return false;
        ways_[i] = {route(known->bindings, exchange_type(message), message.routing_key), std::move(key),
                    known->version};
        return !ways_[i].queues.empty();  // that nobody takes it must be true now
    }

    Operation<> resolve(std::size_t i, bool again) {
        const OutgoingMessage& message = messages_[i];
        const std::string key = link_.keys.bindings(message.exchange);
        const BindingCache::Entry* const entry = co_await bindings_of(link_, key, !again);
        ways_[i] = {route(entry->bindings, exchange_type(message), message.routing_key), key, entry->version};
        if (!ways_[i].queues.empty()) co_return;
        const bool nothing_bound = entry->bindings.empty();
        if (const std::string& dead = link_.options.deadletter_queue; !dead.empty()) {
            ways_[i].queues = {dead};
            log(LogLevel::warning, link_.session.peer() + ": exchange '" + message.exchange + "' has no queue for '" +
                                       message.routing_key + "': the message goes to " + dead);
        } else if (nothing_bound && !is_known(message.exchange)) {
            fail(i, [&] { routing::not_found("exchange", message.exchange); });
        } else if (message.mandatory) {
            fail(i, [&] { routing::no_route(message.exchange, message.routing_key); });
        }
    }

    /// An exchange without bindings is there when it was declared here and this session has bound nothing to it: what
    /// it had bound somebody else has undone.
    bool is_known(const std::string& exchange) {
        if (!link_.declared.exchange(exchange)) return false;
        for (const auto& [name, record] : link_.declared.queues)
            for (const Declared::Bound& bound : record.bindings)
                if (bound.exchange == exchange) return false;
        return true;
    }

    template <class Throw>
    void fail(std::size_t i, Throw raise) {
        try {
            raise();
        } catch (...) {
            results_[i] = std::current_exception();
            failed_[i] = true;
        }
    }

    void add_copies(std::vector<Copy>& copies, std::size_t i, const std::vector<std::string>& queues) {
        for (const std::string& queue : queues) {
            Copy copy{.message = i, .list = link_.keys.queue(queue, messages_[i].properties.priority.value_or(0))};
            append_uuid(copy.tag);
            if (const auto* const record = link_.declared.queue(queue)) copy.expires = record->expires;
            copies.push_back(std::move(copy));
        }
        if (is_fanout(messages_[i])) copies.push_back({.message = i});
    }

    /// Appends the envelope of a copy as an argument of a command.
    void append_envelope(const Copy& copy) {
        const OutgoingMessage& message = messages_[copy.message];
        const envelope::Frame& frame = frames_.frame_for(message, link_.options.body_encoding);
        const std::string_view body = frame.prepare(message.body, escaped_);
        std::string& out = link_.session.output();
        append_argument_header(out, frame.size(body, copy.tag.size()));
        frame.append(out, body, copy.tag);
        out += "\r\n";
    }

    /// A command that puts out several copies, and how many.
    struct Group {
        std::size_t first = 0, count = 0;
        bool in_transaction = false;
    };

    std::vector<Group> groups_of(const std::vector<Copy>& copies) const {
        std::vector<Group> groups;
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < copies.size(); ++i) {
            const std::size_t size = messages_[copies[i].message].body.size() * 2 + 512;
            const bool fits = !groups.empty() && !copies[i].list.empty() && groups.back().count < max_together &&
                              bytes + size <= max_bytes_together && copies[groups.back().first].list == copies[i].list;
            const bool alone = is_only_copy(copies, i);
            if (fits && alone && !groups.back().in_transaction && copies[i].expires.count() == 0) {
                ++groups.back().count;
                bytes += size;
                continue;
            }
            groups.push_back({i, 1, !alone || copies[i].expires.count() != 0});
            bytes = size;
        }
        return groups;
    }

    static bool is_only_copy(const std::vector<Copy>& copies, std::size_t i) {
        return (i == 0 || copies[i - 1].message != copies[i].message) &&
               (i + 1 == copies.size() || copies[i + 1].message != copies[i].message);
    }

    /// Copies of one message in several queues come into all of them or into none.
    Operation<> send(const std::vector<Copy>& copies) {
        Session& session = link_.session;
        const std::size_t before = session.output().size();
        const std::vector<Group> groups = groups_of(copies);
        std::vector<char> answers;  // for each reply to come: what it answers
        try {
            put_out(copies, groups, answers);
        } catch (...) {
            session.output().resize(before);  // half a command would be the beginning of the next one
            throw;
        }
        for (std::size_t i = 0; i < answers.size(); ++i) session.expect(true);
        co_await take_answers(copies, groups, answers);
    }

    void put_out(const std::vector<Copy>& copies, const std::vector<Group>& groups, std::vector<char>& answers) {
        std::string& out = link_.session.output();
        for (std::size_t g = 0; g < groups.size(); ++g) {
            const Group& group = groups[g];
            const Copy& first = copies[group.first];
            const bool begins =
                group.in_transaction && (group.first == 0 || copies[group.first - 1].message != first.message);
            const std::size_t next = group.first + group.count;
            const bool ends = group.in_transaction && (next == copies.size() || copies[next].message != first.message);
            if (begins) {
                append_command(out, {"MULTI"});
                answers.push_back('q');
            }
            append_command_header(out, 2 + group.count);
            if (first.list.empty()) {
                const OutgoingMessage& message = messages_[first.message];
                append_argument(out, "PUBLISH");
                append_argument(out, link_.keys.fanout(message.exchange, message.routing_key));
            } else {
                append_argument(out, "LPUSH");
                append_argument(out, first.list);
            }
            for (std::size_t i = 0; i < group.count; ++i) append_envelope(copies[group.first + i]);
            answers.push_back(group.in_transaction ? 'q' : 'd');
            if (first.expires.count() != 0) {
                append_command(out, {"PEXPIRE", first.list, std::to_string(first.expires.count())});
                answers.push_back('q');
            }
            if (ends) {
                append_command(out, {"EXEC"});
                answers.push_back('x');
            }
        }
    }

    void settle(const Reply& reply, const std::vector<Copy>& copies, std::size_t first, std::size_t count) {
        for (std::size_t i = first; i < first + count; ++i) {
            const std::size_t message = copies[i].message;
            if (failed_[message]) continue;
            fail(message, [&] { throw_if_error(reply, link_.session.peer()); });
            if (reply.is(Reply::Type::array))
                for (const Reply& each : reply.elements)
                    if (!failed_[message]) fail(message, [&] { throw_if_error(each, link_.session.peer()); });
            if (!failed_[message] && !reply.is(Reply::Type::array) && !reply.is(Reply::Type::integer))
                unexpected(link_.session.peer(), "LPUSH");
            const bool heard_by_nobody = copies[i].list.empty() && reply.integer == 0;
            if (!failed_[message] && heard_by_nobody && messages_[message].mandatory)
                fail(message, [&] { routing::no_route(messages_[message].exchange, messages_[message].routing_key); });
            if (!failed_[message]) results_[message] = nullptr;
        }
    }

    Operation<> take_answers(const std::vector<Copy>& copies, const std::vector<Group>& groups,
                             const std::vector<char>& answers) {
        std::size_t group = 0;
        std::optional<Reply> refusal;
        for (const char kind : answers) {
            Reply reply = co_await link_.session.reply();
            if (kind == 'd') {
                settle(reply, copies, groups[group].first, groups[group].count);
                ++group;
            } else if (kind == 'q') {
                if (reply.is(Reply::Type::error) && !refusal) refusal = std::move(reply);
            } else {
                // The first refusal says why, EXEC only that.
                const std::size_t message = copies[groups[group].first].message;
                for (; group < groups.size() && copies[groups[group].first].message == message; ++group)
                    settle(refusal ? *refusal : reply, copies, groups[group].first, 1);
                refusal.reset();
            }
        }
    }

    bool all_current() const {
        return std::all_of(ways_.begin(), ways_.end(), [&](const Way& way) {
            return way.bindings_key.empty() || link_.session.bindings().is_current(way.bindings_key, way.version);
        });
    }

    /// Bindings were changed before the messages were stored: those that went the wrong way are put right, as if the
    /// bindings had been read last.
    Operation<> correct(std::vector<Copy>& copies) {
        std::vector<Copy> missing, wrong;
        for (std::size_t i = 0; i < messages_.size(); ++i) {
            if (failed_[i] || ways_[i].bindings_key.empty() ||
                link_.session.bindings().is_current(ways_[i].bindings_key, ways_[i].version))
                continue;
            co_await resolve(i, true);
            std::vector<Copy> wanted;
            add_copies(wanted, i, ways_[i].queues);
            const auto lacks = [i](const std::vector<Copy>& among, const Copy& copy) {
                return std::none_of(among.begin(), among.end(),
                                    [&](const Copy& other) { return other.message == i && other.list == copy.list; });
            };
            std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(missing),
                         [&](const Copy& copy) { return lacks(copies, copy); });
            std::copy_if(copies.begin(), copies.end(), std::back_inserter(wrong),
                         [&](const Copy& copy) { return copy.message == i && lacks(wanted, copy); });
        }
        for (const Copy& copy : wrong) co_await take_back(copy);
        std::erase_if(copies, [&](const Copy& copy) {
            return std::any_of(wrong.begin(), wrong.end(), [&](const Copy& other) { return other.tag == copy.tag; });
        });
        co_await send(missing);
        copies.insert(copies.end(), missing.begin(), missing.end());
        std::stable_sort(copies.begin(), copies.end(),
                         [](const Copy& a, const Copy& b) { return a.message < b.message; });
    }

    Operation<> take_back(const Copy& copy) {
        std::string& out = link_.session.output();
        append_command_header(out, 4);
        append_argument(out, "LREM");
        append_argument(out, copy.list);
        append_argument(out, "1");
        append_envelope(copy);
        link_.session.expect(true);
        co_await link_.session.reply(Reply::Type::integer, "LREM");
    }

    Link& link_;
    FrameCache& frames_;
    std::span<const OutgoingMessage> messages_;
    std::span<std::exception_ptr> results_;
    std::vector<bool> failed_;
    std::vector<Way> ways_;
    std::string escaped_;
};

}  // namespace

Operation<> publish(Link& link, FrameCache& frames, std::span<const OutgoingMessage> messages,
                    std::span<std::exception_ptr> results) {
    Publishing publishing{link, frames, messages, results};
    co_await publishing.run();
}

}  // namespace kombu::redis
