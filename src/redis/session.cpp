#include "redis/session.hpp"

#include <kombu/log.hpp>

#include "redis/error.hpp"

#include <strings.h>

#include <algorithm>

namespace kombu::redis {

void Session::begin() {
    check();
    replies_.clear();
    std::fill(expected_.begin(), expected_.end(), false);
}

void Session::wipe_output() noexcept {
    output_.resize(output_.capacity());
    ::explicit_bzero(output_.data(), output_.size());
    output_.clear();
}

void Session::send(std::span<const std::string> command) {
    append_command_header(output_, command.size());
    for (const std::string& argument : command) append_argument(output_, argument);
    expect(true);
}

void Session::send_and_forget(std::span<const std::string> command) {
    send(command);
    expected_.back() = false;
}

void Session::send_script(const Script& script, std::span<const std::string> keys,
                          std::span<const std::string> arguments, bool forget) {
    append_command_header(output_, 3 + keys.size() + arguments.size());
    // A call that nobody waits for could not be repeated with the text.
    const bool known = !forget && known_scripts_.contains(&script);
    append_argument(output_, known ? "EVALSHA" : "EVAL");
    append_argument(output_, known ? std::string_view{script.sha} : script.text);
    append_argument(output_, std::to_string(keys.size()));
    for (const std::string& key : keys) append_argument(output_, key);
    for (const std::string& argument : arguments) append_argument(output_, argument);
    if (!forget) known_scripts_.insert(&script);
    expect(!forget);
}

void Session::input_added(std::size_t count) {
    reader_.added(count);
    try {
        while (auto reply = reader_.next()) take(std::move(*reply));
    } catch (const ConnectionError& error) {
        // The reader does not know whom it reads from.
        if (std::string_view{error.what()}.starts_with(peer_)) throw;
        throw ConnectionError(peer_ + ": " + error.what(), error.code(), error.is_retryable());
    }
}

void Session::take(Reply reply) {
    if (failed()) return;
    if (reply.is(Reply::Type::push)) return take_push(std::move(reply));
    if (expected_.empty() && subscribing_ != 0 && reply.is(Reply::Type::error)) {
        --subscribing_;
        subscription_refusal_ = std::move(reply);
        return;
    }
    if (expected_.empty())
        throw ConnectionError(peer_ + ": an answer came that nobody asked for" +
                                  (reply.is(Reply::Type::error) ? ": " + reply.text.substr(0, 300) : ""),
                              0, reply.is(Reply::Type::error));
    const bool wanted = expected_.front();
    expected_.pop_front();
    if (wanted)
        replies_.push_back(std::move(reply));
    else if (reply.is(Reply::Type::error))
        log(LogLevel::warning, peer_ + ": " + reply.text.substr(0, 300));
}

void Session::take_push(Reply push) {
    const std::string_view kind = push.elements.empty() ? std::string_view{} : push.elements[0].text;
    if (kind == "invalidate" && push.elements.size() == 2) {
        if (push.elements[1].is(Reply::Type::nil)) {  // all of them
            bindings_.clear();
            watched_changed_ = true;
        }
        for (const Reply& key : push.elements[1].elements) invalidated(key.text);
    } else if (kind == "pmessage" && push.elements.size() == 4) {
        if (!subscriptions_.deliver(push.elements[1].text, push.elements[3].text))
            log(LogLevel::warning, peer_ + ": messages of a fanout exchange were dropped: nobody takes them");
    } else if (kind == "psubscribe") {
        if (subscribing_ != 0) --subscribing_;
    } else if (kind != "punsubscribe") {
        throw ConnectionError(peer_ + ": a push came of an unknown kind", 0, false);
    }
}

void Session::invalidated(std::string_view key) {
    bindings_.forget(key);
    if (watched_.find(key) != watched_.end()) watched_changed_ = true;
}

void Session::subscribe(const std::string& pattern) {
    append_command(output_, {"PSUBSCRIBE", pattern});
    ++subscribing_;
}

void Session::unsubscribe(const std::string& pattern) { append_command(output_, {"PUNSUBSCRIBE", pattern}); }

void Session::watch(const std::vector<std::string>& keys) {
    watched_ = {keys.begin(), keys.end()};
    watched_changed_ = false;
}

std::optional<Reply> Session::take_reply() {
    if (replies_.empty()) return std::nullopt;
    Reply reply = std::move(replies_.front());
    replies_.pop_front();
    return reply;
}

async::Operation<Reply> Session::reply() {
    const bool bounded = options_.socket_timeout.count() != 0;
    int patience = options_.retry_on_timeout ? 2 : 1;
    Deadline until = bounded ? Deadline::after(options_.socket_timeout) : Deadline::never();
    for (;;) {
        check();
        if (auto next = take_reply()) co_return std::move(*next);
        const bool in_time = co_await async::AwaitInput{until};
        if (in_time) continue;
        if (--patience == 0) throw Timeout(peer_ + ": no answer within the socket_timeout");
        until = Deadline::after(options_.socket_timeout);
    }
}

async::Operation<Reply> Session::reply(Reply::Type type, const char* command) {
    Reply next = co_await reply();
    throw_if_error(next, peer_);
    if (!next.is(type)) unexpected(peer_, command);
    co_return next;
}

}  // namespace kombu::redis
