// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>

#include "redis/capture_exception.hpp"
#include "redis/error.hpp"
#include "redis/operations.hpp"
#include "support/append_or_undo.hpp"
#include "support/uuid.hpp"
#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace kombu::redis {
namespace {

constexpr int max_reroutes = 5;
/// Limits of a batch, which is one command. A larger message is a batch of its own.
constexpr std::size_t max_batch_messages = 512;
constexpr std::size_t max_batch_bytes = std::size_t{1} << 20;

/// A copy of a message, for one list or one Pub/Sub channel.
struct MessageCopy {
    std::size_t message = 0;
    const Route* route = nullptr;
    /// Index into the route's lists; unused with a fanout exchange.
    std::size_t list = 0;
    std::array<char, uuid_size> delivery_tag{};

    std::string_view key() const { return route->fanout ? route->fanout_channel : route->lists[list].key; }
    bool expires() const { return !route->fanout && route->lists[list].expires.count() != 0; }
    std::string_view delivery_tag_text() const { return {delivery_tag.data(), delivery_tag.size()}; }
    bool same_target(const MessageCopy& other) const {
        return route->fanout == other.route->fanout && key() == other.key();
    }
};

/// Appends the envelope as an argument of a command.
void append_envelope(std::string& out, const MessageCopy& copy, std::string_view body, std::string& scratch,
                     Deadline deadline) {
    const envelope::EnvelopeTemplate& envelope_template = *copy.route->envelope_template;
    const std::string_view prepared = envelope_template.prepare(body, scratch, deadline);
    append_argument_header(out, envelope_template.size(prepared, copy.delivery_tag.size()));
    envelope_template.append(out, prepared, copy.delivery_tag_text(), deadline);
    out += "\r\n";
}

/// Throws EncodeError if the envelope is too large for consumers, or the body cannot have the encoding of the options.
void check_envelope_size(const envelope::EnvelopeTemplate& envelope_template, std::string_view body,
                         std::string& scratch, Deadline deadline) {
    if (envelope_template.size(envelope_template.prepare(body, scratch, deadline), uuid_size) > max_envelope_size)
        throw EncodeError("the message is larger than " + std::to_string(max_envelope_size >> 20) + " MiB");
}

/// Copies that one command sends: of messages with a single copy each, or one copy within a transaction.
struct CommandBatch {
    std::size_t first = 0, count = 0;
    bool in_transaction = false;
};

enum class ReplyKind : std::uint8_t { command, queued, exec };

/// Stores the bindings from the reply to SMEMBERS that was sent after messages. Returns its error.
std::exception_ptr store_bindings(SessionContext& context, const std::string& key, const Reply& members) {
    std::exception_ptr error = capture_exception([&] { throw_if_error(members, context.session.peer()); });
    if (!error && !members.is(Reply::Type::array)) unexpected_reply(context.session.peer(), "SMEMBERS");
    if (error)
        context.bindings.forget(key);
    else
        context.bindings.store(key, members, context.options.separator);
    return error;
}

class PublishOperation {
public:
    PublishOperation(SessionContext& context, RouteCache& cache, std::span<const OutgoingMessage> messages,
                     std::span<std::exception_ptr> results, Deadline deadline)
        : context_(context),
          route_cache_(cache),
          messages_(messages),
          results_(results),
          deadline_(deadline),
          failed_(messages.size()) {}

    async::Operation<> run() {
        routes_.reserve(messages_.size());
        for (std::size_t i = 0; i < messages_.size(); ++i) {
            std::shared_ptr<const Route> route = cached_route(i);
            if (!route) route = co_await resolve_route(context_, route_cache_, messages_[i].metadata);
            routes_.push_back(std::move(route));
        }
        std::vector<MessageCopy> copies;
        copies.reserve(messages_.size());
        for (std::size_t i = 0; i < messages_.size(); ++i) add_copies(copies, i, *routes_[i]);
        if (!copies.empty()) co_await send(copies);
        co_await reroute(copies);
        for (std::size_t i = 0; i < messages_.size(); ++i)
            if (!failed_[i]) results_[i] = nullptr;
    }

    /// Call after the replies, which include the bindings. Reroutes until all routes were current, at most max_reroutes
    /// times.
    async::Operation<> reroute(std::vector<MessageCopy>& copies) {
        for (int n = 0; n < max_reroutes && !all_routes_current(); ++n) co_await reroute_once(copies);
    }

    /// The same for a single message that has already been stored.
    async::Operation<> reroute(std::shared_ptr<const Route> route, MessageCopy copy) {
        routes_.push_back(std::move(route));
        std::vector<MessageCopy> copies{copy};
        co_await reroute(copies);
    }

private:
    /// The route of the previous message, or a cached one. Null if neither is right.
    std::shared_ptr<const Route> cached_route(std::size_t i) const {
        const auto& head = messages_[i].metadata;
        if (i != 0 && routes_[i - 1]->head == head) return routes_[i - 1];
        return reuse_route(context_, route_cache_, head);
    }

    void fail(std::size_t message, std::exception_ptr error) {
        results_[message] = std::move(error);
        failed_[message] = true;
    }

    void add_copies(std::vector<MessageCopy>& copies, std::size_t i, const Route& route) {
        if (failed_[i]) return;
        if (route.refusal) return fail(i, route.refusal);
        if (auto error = capture_exception(
                [&] { check_envelope_size(*route.envelope_template, messages_[i].body, scratch_, deadline_); }))
            return fail(i, error);
        const std::size_t lists = route.fanout ? 1 : route.lists.size();
        for (std::size_t list = 0; list < lists; ++list) {
            MessageCopy& copy = copies.emplace_back(MessageCopy{.message = i, .route = &route, .list = list});
            write_uuid(copy.delivery_tag.data());
        }
    }

    static std::vector<CommandBatch> make_batches(const std::vector<MessageCopy>& copies,
                                                  std::span<const OutgoingMessage> messages) {
        std::vector<CommandBatch> batches;
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < copies.size(); ++i) {
            const MessageCopy& copy = copies[i];
            const bool only_copy = (i == 0 || copies[i - 1].message != copy.message) &&
                                   (i + 1 == copies.size() || copies[i + 1].message != copy.message);
            const bool in_transaction = !only_copy || copy.expires();
            const std::size_t size = messages[copy.message].body.size();
            if (!in_transaction && !copy.route->fanout && !batches.empty() && !batches.back().in_transaction &&
                batches.back().count < max_batch_messages && bytes + size <= max_batch_bytes &&
                copies[i - 1].same_target(copy)) {
                ++batches.back().count;
                bytes += size;
            } else {
                batches.push_back({i, 1, in_transaction});
                bytes = size;
            }
        }
        return batches;
    }

    /// Copies of one message for several lists are stored in all of them or in none.
    async::Operation<> send(const std::vector<MessageCopy>& copies) {
        Session& session = context_.session;
        const std::vector<CommandBatch> batches = make_batches(copies, messages_);
        std::vector<ReplyKind> reply_kinds;
        append_or_undo(session.output(), [&] { write_commands(copies, batches, reply_kinds); });
        for (std::size_t i = 0; i < reply_kinds.size(); ++i) session.expect_reply();
        // Read after the messages are stored: see KnownBindings.
        std::vector<std::string_view> binding_sets;
        for (const MessageCopy& copy : copies) {
            const std::string& key = copy.route->bindings_key;
            if (key.empty() || std::find(binding_sets.begin(), binding_sets.end(), key) != binding_sets.end()) continue;
            binding_sets.push_back(key);
            session.send_formatted(copy.route->bindings_command);
        }
        std::size_t batch = 0;
        std::optional<Reply> first_error;
        for (const ReplyKind kind : reply_kinds) {
            Reply reply = co_await session.await_reply();
            if (kind == ReplyKind::queued) {
                if (reply.is(Reply::Type::error) && !first_error) first_error = std::move(reply);
            } else if (kind == ReplyKind::command) {
                apply_reply(reply, copies, batches[batch++]);
            } else {
                // The first error has the reason; that of EXEC says only that the transaction was discarded.
                const std::size_t message = copies[batches[batch].first].message;
                for (; batch < batches.size() && copies[batches[batch].first].message == message; ++batch)
                    apply_reply(first_error ? *first_error : reply, copies, batches[batch]);
                first_error.reset();
            }
        }
        for (const std::string_view key : binding_sets) {
            const Reply members = co_await session.await_reply();
            const std::exception_ptr error = store_bindings(context_, std::string{key}, members);
            for (const MessageCopy& copy : copies)
                if (error && copy.route->bindings_key == key && !failed_[copy.message]) fail(copy.message, error);
        }
        const Route* route = nullptr;
        bool route_is_current = false;
        for (const MessageCopy& copy : copies) {
            if (copy.route != route) {
                route = copy.route;
                route_is_current = is_current(context_, *route);
            }
            if (!failed_[copy.message] && route_is_current) results_[copy.message] = nullptr;
        }
    }

    void write_commands(const std::vector<MessageCopy>& copies, const std::vector<CommandBatch>& batches,
                        std::vector<ReplyKind>& reply_kinds) {
        std::string& out = context_.session.output();
        for (const CommandBatch& batch : batches) {
            const MessageCopy& first = copies[batch.first];
            const std::size_t next = batch.first + batch.count;
            const bool first_of_message = batch.first == 0 || copies[batch.first - 1].message != first.message;
            const bool last_of_message = next == copies.size() || copies[next].message != first.message;
            if (batch.in_transaction && first_of_message) {
                append_command(out, {"MULTI"});
                reply_kinds.push_back(ReplyKind::queued);
            }
            append_command_header(out, 2 + batch.count);
            append_argument(out, first.route->fanout ? "PUBLISH" : "LPUSH");
            append_argument(out, first.key());
            for (std::size_t i = batch.first; i < next; ++i)
                append_envelope(out, copies[i], messages_[copies[i].message].body, scratch_, deadline_);
            reply_kinds.push_back(batch.in_transaction ? ReplyKind::queued : ReplyKind::command);
            if (first.expires()) {
                append_command(
                    out, {"PEXPIRE", first.key(), std::to_string(first.route->lists[first.list].expires.count())});
                reply_kinds.push_back(ReplyKind::queued);
            }
            if (batch.in_transaction && last_of_message) {
                append_command(out, {"EXEC"});
                reply_kinds.push_back(ReplyKind::exec);
            }
        }
    }

    /// Sets the results of a batch's messages from its reply, or from that of its transaction.
    void apply_reply(const Reply& reply, const std::vector<MessageCopy>& copies, const CommandBatch& batch) {
        std::exception_ptr error = capture_exception([&] {
            throw_if_error(reply, context_.session.peer());
            for (const Reply& each : reply.elements) throw_if_error(each, context_.session.peer());
        });
        if (!error && !reply.is(batch.in_transaction ? Reply::Type::array : Reply::Type::integer))
            unexpected_reply(context_.session.peer(), batch.in_transaction ? "EXEC" : "LPUSH");
        for (std::size_t i = batch.first; i < batch.first + batch.count; ++i) {
            const std::size_t message = copies[i].message;
            if (failed_[message]) continue;
            const MessageMetadata& head = *copies[i].route->head;
            if (error)
                fail(message, error);
            else if (copies[i].route->fanout && reply.integer == 0 && head.mandatory)
                fail(message, capture_exception([&] { routing::throw_unroutable(head.exchange, head.routing_key); }));
            else if (copies[i].route->bindings_key.empty())
                results_[message] = nullptr;
        }
    }

    bool all_routes_current() const {
        for (std::size_t i = 0; i < routes_.size(); ++i)
            if ((i == 0 || routes_[i] != routes_[i - 1]) && !is_current(context_, *routes_[i])) return false;
        return true;
    }

    /// Reroutes the messages whose bindings were changed before they were stored, as if the new bindings had been read
    /// first: sends missing copies, then removes misrouted ones.
    async::Operation<> reroute_once(std::vector<MessageCopy>& copies) {
        std::vector<MessageCopy> missing, correct_copies, misrouted;
        auto next = copies.begin();  // first copy of the messages from i on
        for (std::size_t i = 0; i < messages_.size(); ++i) {
            const auto first = next;
            while (next != copies.end() && next->message == i) ++next;
            if (failed_[i] || is_current(context_, *routes_[i])) {
                correct_copies.insert(correct_copies.end(), first, next);
                continue;
            }
            outdated_routes_.push_back(routes_[i]);  // the copies refer to it
            const bool reuse_previous =
                i != 0 && routes_[i - 1]->head == routes_[i]->head && is_current(context_, *routes_[i - 1]);
            if (reuse_previous)
                routes_[i] = routes_[i - 1];
            else
                routes_[i] = co_await resolve_route(context_, route_cache_, routes_[i]->head);
            std::vector<MessageCopy> wanted;
            add_copies(wanted, i, *routes_[i]);
            for (auto copy = first; copy != next; ++copy) {
                const auto same = [&](const MessageCopy& other) { return other.same_target(*copy); };
                const auto match = std::find_if(wanted.begin(), wanted.end(), same);
                if (match == wanted.end()) {
                    misrouted.push_back(*copy);
                } else {
                    correct_copies.push_back(*copy);
                    wanted.erase(match);
                }
            }
            missing.insert(missing.end(), wanted.begin(), wanted.end());
        }
        // In this order: if the connection failed in between, a message removed first would be in no queue at all.
        if (!missing.empty()) co_await send(missing);
        for (const MessageCopy& copy : misrouted) co_await remove_copy(copy);
        copies = std::move(correct_copies);
        copies.insert(copies.end(), missing.begin(), missing.end());
        std::stable_sort(copies.begin(), copies.end(),
                         [](const MessageCopy& a, const MessageCopy& b) { return a.message < b.message; });
    }

    async::Operation<> remove_copy(const MessageCopy& copy) {
        std::string& out = context_.session.output();
        append_command_header(out, 4);
        append_argument(out, "LREM");
        append_argument(out, copy.key());
        append_argument(out, "1");
        append_envelope(out, copy, messages_[copy.message].body, scratch_, deadline_);
        context_.session.expect_reply();
        co_await context_.session.await_reply(Reply::Type::integer, "LREM");
    }

    SessionContext& context_;
    RouteCache& route_cache_;
    std::span<const OutgoingMessage> messages_;
    std::span<std::exception_ptr> results_;
    const Deadline deadline_;
    std::vector<bool> failed_;
    std::vector<std::shared_ptr<const Route>> routes_{};  // of each message
    std::vector<std::shared_ptr<const Route>> outdated_routes_{};
    std::string scratch_{};
};

}  // namespace

async::Operation<> publish_all(SessionContext& context, RouteCache& cache, std::span<const OutgoingMessage> messages,
                               std::span<std::exception_ptr> results, Deadline deadline) {
    ++context.writes;
    PublishOperation operation{context, cache, messages, results, deadline};
    co_await operation.run();
}

async::Operation<> publish(SessionContext& context, RouteCache& cache, const OutgoingMessage& message,
                           Deadline deadline) {
    std::exception_ptr result;
    co_await publish_all(context, cache, {&message, 1}, {&result, 1}, deadline);
    if (result) std::rethrow_exception(result);
}

namespace {

async::Operation<> reroute(SessionContext& context, RouteCache& cache, const OutgoingMessage& message,
                           std::shared_ptr<const Route> route, MessageCopy stored, Deadline deadline) {
    std::exception_ptr result;
    PublishOperation operation{context, cache, {&message, 1}, {&result, 1}, deadline};
    co_await operation.reroute(std::move(route), stored);
    if (result) std::rethrow_exception(result);
}

}  // namespace

std::shared_ptr<const Route> PlainPublish::find_route(const SessionContext& context, RouteCache& cache,
                                                      const OutgoingMessage& message) {
    std::shared_ptr<const Route> route = reuse_route(context, cache, message.metadata);
    const bool is_plain = route && route->lists.size() == 1 && route->lists[0].expires.count() == 0;
    return is_plain ? route : nullptr;
}

PlainPublish::PlainPublish(SessionContext& context, RouteCache& cache, std::shared_ptr<const Route> route,
                           const OutgoingMessage& message, Deadline deadline)
    : link_(context), cache_(cache), route_(std::move(route)), message_(message), deadline_(deadline) {
    write_uuid(delivery_tag_.data());
    Session& session = context.session;
    std::string scratch;
    check_envelope_size(*route_->envelope_template, message.body, scratch, deadline);
    append_or_undo(session.output(), [&] {
        session.output() += route_->lists[0].push_command;
        append_envelope(session.output(), {.route = route_.get(), .delivery_tag = delivery_tag_}, message.body, scratch,
                        deadline);
    });
    session.expect_reply();
    if (!route_->bindings_key.empty()) session.send_formatted(route_->bindings_command);
    ++context.writes;
    wait_.until = session.reply_deadline();
}

bool PlainPublish::resume(const async::Ready& ready) {
    if (rerouting_) return rerouting_->resume(ready);
    error_ = capture_exception([&] { take_replies(); });
    if (rerouting_) return rerouting_->resume();
    return answered_ || error_ || !ready.read || link_.session.failed();
}

void PlainPublish::take_replies() {
    Session& session = link_.session;
    if (!pushed_ && session.has_replies(1)) {
        const Reply reply = session.pop_reply();
        throw_if_error(reply, session.peer());
        if (!reply.is(Reply::Type::integer)) unexpected_reply(session.peer(), "LPUSH");
        pushed_ = true;
        answered_ = route_->bindings_key.empty();
    }
    if (answered_ || !session.has_replies(1)) return;
    // Read after the message is stored: see KnownBindings.
    const Reply members = session.pop_reply();
    if (const std::exception_ptr error = store_bindings(link_, route_->bindings_key, members))
        std::rethrow_exception(error);
    answered_ = true;
    if (is_current(link_, *route_)) return;
    const MessageCopy stored{.route = route_.get(), .delivery_tag = delivery_tag_};
    rerouting_.emplace(reroute(link_, cache_, message_, route_, stored, deadline_));
}

void PlainPublish::result() {
    if (rerouting_) return rerouting_->result();
    if (error_) std::rethrow_exception(error_);
    if (answered_) return;
    link_.session.check();
    link_.session.throw_no_reply();
}

async::Operation<> publish_at(SessionContext& context, OutgoingMessage message, std::string queue,
                              std::chrono::system_clock::time_point when, Deadline deadline) {
    auto metadata = std::make_shared<MessageMetadata>(*message.metadata);
    metadata->exchange.clear();
    metadata->routing_key = queue;
    RouteCache cache;
    const std::shared_ptr<const Route> route = co_await resolve_route(context, cache, std::move(metadata));
    if (route->refusal) std::rethrow_exception(route->refusal);
    Session& session = context.session;
    MessageCopy copy{.route = route.get()};
    write_uuid(copy.delivery_tag.data());
    std::string scratch;
    check_envelope_size(*route->envelope_template, message.body, scratch, deadline);
    const std::string due = std::to_string(std::chrono::duration<double>(when.time_since_epoch()).count());
    append_or_undo(session.output(), [&] {
        append_command_header(session.output(), 4);
        append_argument(session.output(), "ZADD");
        append_argument(session.output(), context.keys.delayed(copy.key()));
        append_argument(session.output(), due);
        append_envelope(session.output(), copy, message.body, scratch, deadline);
    });
    session.expect_reply();
    co_await session.await_reply(Reply::Type::integer, "ZADD");
}

}  // namespace kombu::redis
