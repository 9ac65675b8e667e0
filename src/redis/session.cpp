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

void Session::input_added(std::size_t count) {
    name_peer_in_errors([&] {
        reader_.added(count);
        while (auto reply = reader_.next())
            if (!failed()) on_reply(std::move(*reply));
    });
}

void Session::on_reply(Reply reply) {
    const bool is_error = reply.is(Reply::Type::error);
    if (expected_replies_.empty())
        throw ConnectionError(peer() + ": received a reply without an outstanding command" +
                                  (is_error ? ": " + reply.text.substr(0, 300) : ""),
                              0, is_error);
    const bool awaited = expected_replies_.front();
    expected_replies_.pop_front();
    if (awaited)
        replies_.push_back(std::move(reply));
    else if (is_error)
        log(LogLevel::warning, peer() + ": " + reply.text.substr(0, 300));
}

std::optional<Reply> Session::pop_reply() {
    if (replies_.empty()) return std::nullopt;
    Reply reply = std::move(replies_.front());
    replies_.pop_front();
    return reply;
}

ReplyAwaiter Session::await_reply() noexcept { return ReplyAwaiter{*this}; }

ReplyAwaiter Session::await_reply(Reply::Type type, const char* command) noexcept {
    ReplyAwaiter awaiter{*this};
    awaiter.type_ = type;
    awaiter.command_ = command;
    return awaiter;
}

bool ReplyAwaiter::is_enough(const void* argument) noexcept {
    const Session& session = *static_cast<const Session*>(argument);
    return !session.replies_.empty() || session.failed();
}

void ReplyAwaiter::await_suspend(std::coroutine_handle<> self) const noexcept {
    const Options& options = session_.options();
    const auto timeout = options.socket_timeout * (options.retry_on_timeout ? 2 : 1);
    context_->await_input(self, {.until = timeout.count() != 0 ? Deadline::after(timeout) : Deadline::never(),
                                 .is_enough = is_enough,
                                 .argument = &session_});
}

Reply ReplyAwaiter::await_resume() const {
    session_.check();
    std::optional<Reply> reply = session_.pop_reply();
    if (!reply) throw Timeout(session_.peer() + ": no reply within socket_timeout");
    if (type_) {
        throw_if_error(*reply, session_.peer());
        if (!reply->is(*type_)) unexpected_reply(session_.peer(), command_);
    }
    return std::move(*reply);
}

}  // namespace kombu::redis
