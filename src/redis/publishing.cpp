#include <kombu/error.hpp>

#include "redis/capture_exception.hpp"
#include "redis/error.hpp"
#include "redis/operations.hpp"
#include "support/uuid.hpp"
#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace kombu::redis {
namespace {

constexpr int max_corrections = 5;
/// What goes out in one command at most.
constexpr std::size_t max_together = 512;
constexpr std::size_t max_bytes_together = std::size_t{1} << 20;

/// A copy of a message in one list, on its way.
struct Copy {
    std::size_t message = 0;
    const Way* way = nullptr;
    /// Which of the way's lists; none of them is published to by a fanout exchange.
    std::size_t list = 0;
    std::array<char, uuid_size> tag{};

    std::string_view key() const { return way->fanout ? way->channel : way->lists[list].key; }
    bool expires() const { return !way->fanout && way->lists[list].expires.count() != 0; }
    std::string_view tag_text() const { return {tag.data(), tag.size()}; }
    bool goes_where(const Copy& other) const { return way->fanout == other.way->fanout && key() == other.key(); }
};

/// As an argument of a command.
void append_envelope(std::string& out, const Copy& copy, std::string_view body, std::string& memory) {
    const envelope::Frame& frame = *copy.way->frame;
    const std::string_view prepared = frame.prepare(body, memory);
    append_argument_header(out, frame.size(prepared, copy.tag.size()));
    frame.append(out, prepared, copy.tag_text());
    out += "\r\n";
}

/// Throws EncodeError for what no consumer could read, or cannot be written as it should be.
void check_size(const envelope::Frame& frame, std::string_view body, std::string& memory) {
    if (frame.size(frame.prepare(body, memory), uuid_size) > max_envelope)
        throw EncodeError("the message is larger than " + std::to_string(max_envelope >> 20) + " MiB");
}

/// A command that puts out several copies: of messages that have no other, or one of those in a transaction.
struct Group {
    std::size_t first = 0, count = 0;
    bool in_transaction = false;
};

enum class Answer : std::uint8_t { of_group, queued, of_transaction };

class Publishing {
public:
    Publishing(Link& link, WayCache& cache, std::span<const OutgoingMessage> messages,
               std::span<std::exception_ptr> results)
        : link_(link), cache_(cache), messages_(messages), results_(results), failed_(messages.size()) {}

    async::Operation<> run() {
        ways_.reserve(messages_.size());
        for (std::size_t i = 0; i < messages_.size(); ++i) {
            std::shared_ptr<const Way> way = known_way(i);
            if (!way) way = co_await find_way(link_, cache_, messages_[i].head, false);
            ways_.push_back(std::move(way));
        }
        std::vector<Copy> copies;
        copies.reserve(messages_.size());
        for (std::size_t i = 0; i < messages_.size(); ++i) add_copies(copies, i, *ways_[i]);
        if (!copies.empty()) co_await send(copies);
        co_await put_right(copies);
        for (std::size_t i = 0; i < messages_.size(); ++i)
            if (!failed_[i]) results_[i] = nullptr;
    }

    /// After the answers.
    async::Operation<> put_right(std::vector<Copy>& copies) {
        for (int n = 0; n < max_corrections && !all_current(); ++n) co_await correct(copies);
    }

    /// For a single message that has been stored already.
    async::Operation<> put_right(std::shared_ptr<const Way> way, Copy copy) {
        ways_.push_back(std::move(way));
        std::vector<Copy> copies{copy};
        co_await put_right(copies);
    }

private:
    /// The way of the message before, or the last one of the call before, when it is still right.
    std::shared_ptr<const Way> known_way(std::size_t i) const {
        const auto& head = messages_[i].head;
        if (i != 0 && ways_[i - 1]->head == head) return ways_[i - 1];
        if (cache_.last && cache_.last->head == head && is_current(link_, *cache_.last)) return cache_.last;
        return nullptr;
    }

    void fail(std::size_t message, std::exception_ptr error) {
        results_[message] = std::move(error);
        failed_[message] = true;
    }

    void add_copies(std::vector<Copy>& copies, std::size_t i, const Way& way) {
        if (failed_[i]) return;
        if (way.refusal) return fail(i, way.refusal);
        if (auto error = caught([&] { check_size(*way.frame, messages_[i].body, escaped_); })) return fail(i, error);
        const std::size_t lists = way.fanout ? 1 : way.lists.size();
        for (std::size_t list = 0; list < lists; ++list) {
            Copy& copy = copies.emplace_back(Copy{.message = i, .way = &way, .list = list});
            write_uuid(copy.tag.data());
        }
    }

    static std::vector<Group> groups_of(const std::vector<Copy>& copies, std::span<const OutgoingMessage> messages) {
        std::vector<Group> groups;
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < copies.size(); ++i) {
            const Copy& copy = copies[i];
            const bool alone = (i == 0 || copies[i - 1].message != copy.message) &&
                               (i + 1 == copies.size() || copies[i + 1].message != copy.message);
            const bool in_transaction = !alone || copy.expires();
            const std::size_t size = messages[copy.message].body.size();
            if (!in_transaction && !copy.way->fanout && !groups.empty() && !groups.back().in_transaction &&
                groups.back().count < max_together && bytes + size <= max_bytes_together &&
                copies[i - 1].goes_where(copy)) {
                ++groups.back().count;
                bytes += size;
            } else {
                groups.push_back({i, 1, in_transaction});
                bytes = size;
            }
        }
        return groups;
    }

    /// Copies of one message in several lists come into all of them or into none.
    async::Operation<> send(const std::vector<Copy>& copies) {
        Session& session = link_.session;
        const std::size_t before = session.output().size();
        const std::vector<Group> groups = groups_of(copies, messages_);
        std::vector<Answer> answers;
        try {
            put_out(copies, groups, answers);
        } catch (...) {
            session.output().resize(before);  // half a command would be the beginning of the next one
            throw;
        }
        for (std::size_t i = 0; i < answers.size(); ++i) session.expect(true);
        std::size_t group = 0;
        std::optional<Reply> refusal;
        for (const Answer answer : answers) {
            Reply reply = co_await session.reply();
            if (answer == Answer::queued) {
                if (reply.is(Reply::Type::error) && !refusal) refusal = std::move(reply);
            } else if (answer == Answer::of_group) {
                settle(reply, copies, groups[group++]);
            } else {
                // The first refusal says why, EXEC only that.
                const std::size_t message = copies[groups[group].first].message;
                for (; group < groups.size() && copies[groups[group].first].message == message; ++group)
                    settle(refusal ? *refusal : reply, copies, groups[group]);
                refusal.reset();
            }
        }
    }

    void put_out(const std::vector<Copy>& copies, const std::vector<Group>& groups, std::vector<Answer>& answers) {
        std::string& out = link_.session.output();
        for (const Group& group : groups) {
            const Copy& first = copies[group.first];
            const std::size_t next = group.first + group.count;
            const bool begins = group.first == 0 || copies[group.first - 1].message != first.message;
            const bool ends = next == copies.size() || copies[next].message != first.message;
            if (group.in_transaction && begins) {
                append_command(out, {"MULTI"});
                answers.push_back(Answer::queued);
            }
            append_command_header(out, 2 + group.count);
            append_argument(out, first.way->fanout ? "PUBLISH" : "LPUSH");
            append_argument(out, first.key());
            for (std::size_t i = group.first; i < next; ++i)
                append_envelope(out, copies[i], messages_[copies[i].message].body, escaped_);
            answers.push_back(group.in_transaction ? Answer::queued : Answer::of_group);
            if (first.expires()) {
                append_command(out,
                               {"PEXPIRE", first.key(), std::to_string(first.way->lists[first.list].expires.count())});
                answers.push_back(Answer::queued);
            }
            if (group.in_transaction && ends) {
                append_command(out, {"EXEC"});
                answers.push_back(Answer::of_transaction);
            }
        }
    }

    /// What a group's reply, or that of the transaction around it, says of its messages.
    void settle(const Reply& reply, const std::vector<Copy>& copies, const Group& group) {
        std::exception_ptr error = caught([&] {
            throw_if_error(reply, link_.session.peer());
            for (const Reply& each : reply.elements) throw_if_error(each, link_.session.peer());
        });
        if (!error && !reply.is(group.in_transaction ? Reply::Type::array : Reply::Type::integer))
            unexpected(link_.session.peer(), group.in_transaction ? "EXEC" : "LPUSH");
        for (std::size_t i = group.first; i < group.first + group.count; ++i) {
            const std::size_t message = copies[i].message;
            if (failed_[message]) continue;
            const MessageHead& head = *copies[i].way->head;
            if (error)
                fail(message, error);
            else if (copies[i].way->fanout && reply.integer == 0 && head.mandatory)
                fail(message, caught([&] { routing::no_route(head.exchange, head.routing_key); }));
            else if (is_current(link_, *copies[i].way))
                results_[message] = nullptr;
        }
    }

    /// Whether the messages went where they should, judged after the answers: see BindingCache.
    bool all_current() const {
        if (!link_.session.is_tracking()) return true;
        for (std::size_t i = 0; i < ways_.size(); ++i)
            if ((i == 0 || ways_[i] != ways_[i - 1]) && !is_current(link_, *ways_[i])) return false;
        return true;
    }

    /// Bindings were changed before the messages were stored: those that went the wrong way are put right, as if the
    /// bindings had been read last.
    async::Operation<> correct(std::vector<Copy>& copies) {
        std::vector<Copy> missing, right, wrong;
        auto next = copies.begin();  // those of the messages from i on
        for (std::size_t i = 0; i < messages_.size(); ++i) {
            const auto first = next;
            while (next != copies.end() && next->message == i) ++next;
            if (failed_[i] || is_current(link_, *ways_[i])) {
                right.insert(right.end(), first, next);
                continue;
            }
            outdated_.push_back(ways_[i]);  // copies refer to it
            const bool as_before = i != 0 && ways_[i - 1]->head == ways_[i]->head && is_current(link_, *ways_[i - 1]);
            if (as_before)
                ways_[i] = ways_[i - 1];
            else
                ways_[i] = co_await find_way(link_, cache_, ways_[i]->head, true);
            std::vector<Copy> wanted;
            add_copies(wanted, i, *ways_[i]);
            for (auto copy = first; copy != next; ++copy) {
                const auto same = [&](const Copy& other) { return other.goes_where(*copy); };
                const auto kept = std::find_if(wanted.begin(), wanted.end(), same);
                if (kept == wanted.end()) {
                    wrong.push_back(*copy);
                } else {
                    right.push_back(*copy);
                    wanted.erase(kept);
                }
            }
            missing.insert(missing.end(), wanted.begin(), wanted.end());
        }
        // In this order: a message that is in no queue any more, and in none yet, would be lost with the connection.
        if (!missing.empty()) co_await send(missing);
        for (const Copy& copy : wrong) co_await take_back(copy);
        copies = std::move(right);
        copies.insert(copies.end(), missing.begin(), missing.end());
        std::stable_sort(copies.begin(), copies.end(),
                         [](const Copy& a, const Copy& b) { return a.message < b.message; });
    }

    async::Operation<> take_back(const Copy& copy) {
        std::string& out = link_.session.output();
        append_command_header(out, 4);
        append_argument(out, "LREM");
        append_argument(out, copy.key());
        append_argument(out, "1");
        append_envelope(out, copy, messages_[copy.message].body, escaped_);
        link_.session.expect(true);
        co_await link_.session.reply(Reply::Type::integer, "LREM");
    }

    Link& link_;
    WayCache& cache_;
    std::span<const OutgoingMessage> messages_;
    std::span<std::exception_ptr> results_;
    std::vector<bool> failed_;
    std::vector<std::shared_ptr<const Way>> ways_{};  // of each message
    std::vector<std::shared_ptr<const Way>> outdated_{};
    std::string escaped_{};
};

}  // namespace

async::Operation<> publish_all(Link& link, WayCache& cache, std::span<const OutgoingMessage> messages,
                               std::span<std::exception_ptr> results) {
    Publishing publishing{link, cache, messages, results};
    co_await publishing.run();
}

async::Operation<> publish(Link& link, WayCache& cache, const OutgoingMessage& message) {
    const std::shared_ptr<const Way> way = cache.last;
    std::exception_ptr result;
    Publishing publishing{link, cache, {&message, 1}, {&result, 1}};
    const bool is_plain = way && way->head == message.head && way->lists.size() == 1 &&
                          way->lists[0].expires.count() == 0 && is_current(link, *way);
    if (is_plain) {
        // The same as below, in few steps: this is what programs do all day.
        Session& session = link.session;
        Copy copy{.way = way.get()};
        write_uuid(copy.tag.data());
        std::string memory;
        const std::size_t before = session.output().size();
        check_size(*way->frame, message.body, memory);
        try {
            append_command_header(session.output(), 3);
            append_argument(session.output(), "LPUSH");
            append_argument(session.output(), copy.key());
            append_envelope(session.output(), copy, message.body, memory);
        } catch (...) {
            session.output().resize(before);
            throw;
        }
        session.expect(true);
        co_await session.reply(Reply::Type::integer, "LPUSH");
        if (!link.session.is_tracking() || is_current(link, *way)) co_return;
        co_await publishing.put_right(way, copy);
    } else {
        co_await publishing.run();
    }
    if (result) std::rethrow_exception(result);
}

}  // namespace kombu::redis
