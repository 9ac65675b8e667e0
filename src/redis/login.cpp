// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <string_view>
#include <utility>

namespace kombu::redis {
namespace {

/// Whether this reply to HELLO means that the server is too old for it, or that the user may not use it.
bool lacks_hello(const Reply& reply) {
    const std::string_view text = reply.text;
    return reply.is(Reply::Type::error) && (text.find("unknown command") != std::string_view::npos ||
                                            text.starts_with("NOPROTO") || text.starts_with("NOPERM"));
}

void send_auth(Session& session, const std::string& userid, const std::string& password) {
    if (userid.empty())
        session.send({"AUTH", password});
    else
        session.send({"AUTH", userid, password});
}

std::string_view map_value(const Reply& map, std::string_view name) {
    for (std::size_t i = 0; i + 1 < map.elements.size(); i += 2)
        if (map.elements[i].text == name) return map.elements[i + 1].text;
    return {};
}

void send_hello(Session& session, const std::string& userid, const std::string& password) {
    std::vector<std::string> hello{"HELLO", "3"};
    if (!userid.empty() || !password.empty()) {
        hello.emplace_back("AUTH");
        hello.push_back(userid.empty() ? "default" : userid);
        hello.push_back(password);
    }
    if (const std::string& name = session.options().client_name; !name.empty()) {
        hello.emplace_back("SETNAME");
        hello.push_back(name);
    }
    session.send(hello);
}

/// Logs in with RESP 2. Returns the server's role if `must_be_master`, else an empty string.
async::Operation<std::string> login_resp2(SessionContext& context, const std::string& userid,
                                          const std::string& password, bool must_be_master) {
    Session& session = context.session;
    const std::string& name = context.options.client_name;
    const std::string database = std::to_string(context.database);
    const bool has_credentials = !userid.empty() || !password.empty();
    if (has_credentials) send_auth(session, userid, password);
    if (!name.empty()) session.send({"CLIENT", "SETNAME", name});
    if (context.database != 0) session.send({"SELECT", database});
    session.send({"PING"});
    if (must_be_master) session.send({"ROLE"});
    const int reply_count = has_credentials + !name.empty() + (context.database != 0) + 1;
    for (int i = 0; i < reply_count; ++i) {
        const Reply reply = co_await session.await_reply();
        throw_if_error(reply, session.peer());
    }
    if (!must_be_master) co_return std::string{};
    const Reply role = co_await session.await_reply(Reply::Type::array, "ROLE");
    co_return role.elements.empty() ? std::string{} : role.elements[0].text;
}

/// Logs in with RESP 3. Returns the server's role, or nothing if the server does not support RESP 3.
async::Operation<std::optional<std::string>> login_resp3(SessionContext& context, const std::string& userid,
                                                         const std::string& password) {
    Session& session = context.session;
    const std::string database = std::to_string(context.database);
    send_hello(session, userid, password);
    session.send({"SELECT", database});
    session.send({"CLIENT", "TRACKING", "ON", "OPTIN"});
    session.send({"PING"});
    const Reply hello = co_await session.await_reply();
    const Reply selected = co_await session.await_reply();
    const Reply tracking = co_await session.await_reply();
    const Reply pong = co_await session.await_reply();
    if (lacks_hello(hello)) co_return std::nullopt;
    throw_if_error(hello, session.peer());
    throw_if_error(selected, session.peer());
    throw_if_error(pong, session.peer());
    if (!hello.is(Reply::Type::array) || map_value(hello, "role").empty()) unexpected_reply(session.peer(), "HELLO");
    session.set_tracking(tracking.is(Reply::Type::status));
    co_return std::string{map_value(hello, "role")};
}

}  // namespace

async::Operation<> log_in(SessionContext& context, std::string userid, std::string password, bool must_be_master) {
    Session& session = context.session;
    std::string role;
    try {
        std::optional<std::string> resp3_role = co_await login_resp3(context, userid, password);
        if (resp3_role)
            role = std::move(*resp3_role);
        else
            role = co_await login_resp2(context, userid, password, must_be_master);
    } catch (const ChannelError& error) {
        // There is no channel yet that a ChannelError could close.
        throw ConnectionError(error.what(), error.code(), error.is_retryable());
    }
    session.wipe_output();
    if (must_be_master && role != "master")
        throw ReadOnlyError(session.peer() + ": not a master, its role is " + (role.empty() ? "unknown" : role));
}

async::Operation<> reauthenticate(Session& session, std::string userid, std::string password) {
    send_auth(session, userid, password);
    const Reply reply = co_await session.await_reply();
    session.wipe_output();
    throw_if_error(reply, session.peer());
}

async::Operation<> ping(Session& session) {
    session.send({"PING"});
    const Reply pong = co_await session.await_reply();
    throw_if_error(pong, session.peer());
}

async::Operation<> drain_replies(Session& session) {
    while (session.outstanding_replies() != 0) {
        session.check();
        co_await async::AwaitInput{};
    }
}

}  // namespace kombu::redis
