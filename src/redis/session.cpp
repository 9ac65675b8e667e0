// SPDX-License-Identifier: BSD-3-Clause
#include "redis/session.hpp"

#include <kombu/log.hpp>

#include "redis/error.hpp"

#include <algorithm>

namespace kombu::redis {

void Session::begin_operation() {
    check();
    replies_.clear();
    std::fill(expected_replies_.begin(), expected_replies_.end(), Expected::ignored);
}

void Session::input_added(std::size_t count) {
    name_peer_in_errors([&] {
        reader_.added(count);
        while (Reply* const reply = reader_.next())
            if (!failed()) on_reply(std::move(*reply));
    });
}

void Session::on_reply(Reply&& reply) {
    const bool is_error = reply.is(Reply::Type::error);
    if (expected_replies_.empty())
        throw ConnectionError(peer() + ": received a reply without an outstanding command" +
                                  (is_error ? ": " + reply.text.substr(0, 300) : ""),
                              0, is_error);
    if (expected_replies_.pop_front() == Expected::awaited)
        replies_.push_back(std::move(reply));
    else if (is_error)
        log(LogLevel::warning, peer() + ": " + reply.text.substr(0, 300));
}

void Session::throw_no_reply() const { throw Timeout(peer() + ": no reply within socket_timeout"); }

ReplyAwaiter Session::await_reply() noexcept { return ReplyAwaiter{*this}; }

ReplyAwaiter Session::await_reply(Reply::Type type, const char* command) noexcept {
    ReplyAwaiter awaiter{*this};
    awaiter.type_ = type;
    awaiter.command_ = command;
    return awaiter;
}

bool ReplyAwaiter::is_enough(const void* argument) noexcept {
    const Session& session = *static_cast<const Session*>(argument);
    return session.has_replies(1) || session.failed();
}

void ReplyAwaiter::await_suspend(std::coroutine_handle<> self) const noexcept {
    context_->await_input(self, {.until = session_.reply_deadline(), .is_enough = is_enough, .argument = &session_});
}

Reply ReplyAwaiter::await_resume() const {
    session_.check();
    if (!session_.has_replies(1)) session_.throw_no_reply();
    Reply reply = session_.pop_reply();
    if (type_) {
        throw_if_error(reply, session_.peer());
        if (!reply.is(*type_)) unexpected_reply(session_.peer(), command_);
    }
    return reply;
}

}  // namespace kombu::redis
