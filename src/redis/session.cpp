// SPDX-License-Identifier: BSD-3-Clause
#include "redis/session.hpp"

#include <kombu/log.hpp>

#include "redis/error.hpp"

#include <algorithm>

namespace kombu::redis {

void Session::begin_operation() {
    check();
    replies_.clear();
    std::fill(expected_replies_.begin(), expected_replies_.end(), false);
}

void Session::send(std::span<const std::string> command) {
    append_command_header(output_, command.size());
    for (const std::string& argument : command) append_argument(output_, argument);
    expect_reply(true);
}

void Session::send_ignoring_reply(std::span<const std::string> command) {
    send(command);
    expected_replies_.back() = false;
}

void Session::send_script(const Script& script, std::span<const std::string> keys,
                          std::span<const std::string> arguments, bool ignore_reply) {
    append_command_header(output_, 3 + keys.size() + arguments.size());
    // If the reply is ignored, an EVALSHA that fails with NOSCRIPT cannot be repeated as EVAL.
    const bool loaded = !ignore_reply && loaded_scripts_.contains(&script);
    append_argument(output_, loaded ? "EVALSHA" : "EVAL");
    append_argument(output_, loaded ? std::string_view{script.sha1} : script.text);
    append_argument(output_, std::to_string(keys.size()));
    for (const std::string& key : keys) append_argument(output_, key);
    for (const std::string& argument : arguments) append_argument(output_, argument);
    if (!ignore_reply) loaded_scripts_.insert(&script);
    expect_reply(!ignore_reply);
}

void Session::input_added(std::size_t count) {
    reader_.added(count);
    name_peer_in_errors([&] {
        while (auto reply = reader_.next()) on_reply(std::move(*reply));
    });
}

void Session::on_reply(Reply reply) {
    if (failed()) return;
    if (reply.is(Reply::Type::push)) return on_push(std::move(reply));
    if (expected_replies_.empty() && pending_subscriptions_ != 0 && reply.is(Reply::Type::error)) {
        --pending_subscriptions_;
        subscription_error_ = std::move(reply);
        return;
    }
    if (expected_replies_.empty())
        throw ConnectionError(peer() + ": received a reply without an outstanding command" +
                                  (reply.is(Reply::Type::error) ? ": " + reply.text.substr(0, 300) : ""),
                              0, reply.is(Reply::Type::error));
    const bool awaited = expected_replies_.front();
    expected_replies_.pop_front();
    if (awaited)
        replies_.push_back(std::move(reply));
    else if (reply.is(Reply::Type::error))
        log(LogLevel::warning, peer() + ": " + reply.text.substr(0, 300));
}

void Session::on_push(Reply push) {
    const std::string_view kind = push.elements.empty() ? std::string_view{} : push.elements[0].text;
    if (kind == "invalidate" && push.elements.size() == 2) {
        if (push.elements[1].is(Reply::Type::nil)) {  // all keys
            bindings_.clear();
            watched_key_changed_ = true;
        }
        for (const Reply& key : push.elements[1].elements) on_invalidated(key.text);
    } else if (kind == "pmessage" && push.elements.size() == 4) {
        if (!subscriptions_.deliver(push.elements[1].text, push.elements[3].text))
            log(LogLevel::warning,
                peer() + ": messages of a fanout exchange were dropped: the buffer of a slow consumer is full");
    } else if (kind == "psubscribe") {
        if (pending_subscriptions_ != 0) --pending_subscriptions_;
    } else if (kind != "punsubscribe") {
        throw ConnectionError(peer() + ": unknown RESP3 push type", 0, false);
    }
}

void Session::on_invalidated(std::string_view key) {
    bindings_.invalidate(key);
    if (watched_keys_.find(key) != watched_keys_.end()) watched_key_changed_ = true;
}

void Session::subscribe(const std::string& pattern) {
    append_command(output_, {"PSUBSCRIBE", pattern});
    ++pending_subscriptions_;
}

void Session::unsubscribe(const std::string& pattern) { append_command(output_, {"PUNSUBSCRIBE", pattern}); }

void Session::watch(const std::vector<std::string>& keys) {
    watched_keys_ = {keys.begin(), keys.end()};
    watched_key_changed_ = false;
}

std::optional<Reply> Session::pop_reply() {
    if (replies_.empty()) return std::nullopt;
    Reply reply = std::move(replies_.front());
    replies_.pop_front();
    return reply;
}

async::Operation<Reply> Session::await_reply() {
    const bool has_timeout = options_.socket_timeout.count() != 0;
    int attempts_left = options_.retry_on_timeout ? 2 : 1;
    Deadline until = has_timeout ? Deadline::after(options_.socket_timeout) : Deadline::never();
    for (;;) {
        check();
        if (auto next = pop_reply()) co_return std::move(*next);
        const bool in_time = co_await async::AwaitInput{until};
        if (in_time) continue;
        if (--attempts_left == 0) throw Timeout(peer() + ": no reply within socket_timeout");
        until = Deadline::after(options_.socket_timeout);
    }
}

async::Operation<Reply> Session::await_reply(Reply::Type type, const char* command) {
    Reply next = co_await await_reply();
    throw_if_error(next, peer());
    if (!next.is(type)) unexpected_reply(peer(), command);
    co_return next;
}

}  // namespace kombu::redis
