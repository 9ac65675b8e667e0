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
