// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <string_view>
#include <utility>

namespace kombu::redis {
namespace {

/// Overwrites the password in the output.
struct WipeOutput {
    Session& session;
    ~WipeOutput() { session.wipe_output(); }
};

bool has_credentials(const std::string& userid, const std::string& password) {
    return !userid.empty() || !password.empty();
}

void send_identity(Session& session, const std::string& userid, const std::string& password) {
    if (has_credentials(userid, password)) {
        if (userid.empty())
            session.send({"AUTH", password});
        else
            session.send({"AUTH", userid, password});
    }
    if (const std::string& name = session.options().client_name; !name.empty())
        session.send({"CLIENT", "SETNAME", name});
}

/// Waits for the replies to send_identity(). Each reply is checked when it arrives: a server that refuses the
/// connection sends one error and closes.
async::Operation<> await_identity(Session& session, bool with_credentials) {
    if (with_credentials) {
        const Reply reply = co_await session.await_reply();
        throw_if_error(reply, session.peer());
    }
    if (session.options().client_name.empty()) co_return;
    const Reply reply = co_await session.await_reply();
    // A name is not worth the connection of a user who may not call CLIENT.
    if (!is_refused(reply)) throw_if_error(reply, session.peer());
}

/// Logs what the user may not do that receiving needs. `access` is the reply to access_script(), by its SHA-1.
async::Operation<> check_access(SessionContext& context, ScriptArguments arguments, Reply access) {
    Session& session = context.session;
    std::string lacks;
    try {
        if (!access.is(Reply::Type::array))
            access = co_await run_script(session, access_script(), std::move(arguments));
        for (const Reply& command : access.elements) lacks += (lacks.empty() ? "" : ", ") + command.text;
        if (!lacks.empty()) lacks = "it may not call " + lacks + " for the key " + context.keys.unacked();
    } catch (const ChannelError& error) {
        if (error.code() == 403) lacks = error.what();
    }
    if (!lacks.empty())
        log(LogLevel::warning, session.peer() + ": the user can publish, but not receive messages: " + lacks);
}

async::Operation<> do_log_in(SessionContext& context, std::string userid, std::string password, bool must_be_master) {
    Session& session = context.session;
    const std::string& peer = session.peer();
    const std::string database = std::to_string(context.database);
    const WipeOutput wipe{session};
    send_identity(session, userid, password);
    session.send({"INFO", "cluster"});
    session.send({"PING"});
    if (context.database != 0) session.send({"SELECT", database});
    if (must_be_master) session.send({"ROLE"});
    ScriptArguments access{.values = {context.keys.unacked()}};
    session.send_formatted(evalsha_command(access_script(), access));
    co_await await_identity(session, has_credentials(userid, password));
    const Reply cluster = co_await session.await_reply();
    if (!is_refused(cluster)) throw_if_error(cluster, peer);
    if (cluster.text.find("cluster_enabled:1") != std::string::npos)
        throw MovedError(peer + ": the server is part of a cluster (Redis Cluster is not supported)");
    const Reply pong = co_await session.await_reply();
    if (!is_refused(pong)) throw_if_error(pong, peer);
    if (context.database != 0) co_await session.await_reply(Reply::Type::status, "SELECT");
    if (must_be_master) {
        const Reply role = co_await session.await_reply(Reply::Type::array, "ROLE");
        const std::string name = role.elements.empty() ? "unknown" : role.elements[0].text;
        if (name != "master") throw ReadOnlyError(peer + ": not a master, its role is " + name);
    }
    Reply access_reply = co_await session.await_reply();
    co_await check_access(context, std::move(access), std::move(access_reply));
}

}  // namespace

async::Operation<> log_in(SessionContext& context, std::string userid, std::string password, bool must_be_master) {
    try {
        co_await do_log_in(context, std::move(userid), std::move(password), must_be_master);
    } catch (const ChannelError& error) {
        // There is no channel yet that a ChannelError could close.
        throw ConnectionError(error.what(), error.code(), error.is_retryable());
    }
}

async::Operation<std::int64_t> log_in_subscriber(Session& session, std::string userid, std::string password) {
    const WipeOutput wipe{session};
    send_identity(session, userid, password);
    session.send({"CLIENT", "ID"});
    session.send({"SUBSCRIBE", SubscriberSession::notice_channel});
    co_await await_identity(session, has_credentials(userid, password));
    const Reply id = co_await session.await_reply();
    if (!is_refused(id)) throw_if_error(id, session.peer());
    const Reply subscribed = co_await session.await_reply();
    if (!is_refused(subscribed)) throw_if_error(subscribed, session.peer());
    co_return id.is(Reply::Type::integer) && subscribed.is(Reply::Type::array) ? id.integer : 0;
}

async::Operation<bool> enable_tracking(Session& session, std::int64_t client_id) {
    session.send({"CLIENT", "TRACKING", "ON", "REDIRECT", std::to_string(client_id), "OPTIN", "NOLOOP"});
    const Reply reply = co_await session.await_reply();
    co_return reply.is(Reply::Type::status);
}

async::Operation<> reauthenticate(Session& session, std::string userid, std::string password) {
    const WipeOutput wipe{session};
    send_identity(session, userid, password);
    co_await await_identity(session, has_credentials(userid, password));
}

async::Operation<> ping(Session& session) {
    session.send({"PING"});
    const Reply pong = co_await session.await_reply();
    if (!is_refused(pong)) throw_if_error(pong, session.peer());
}

async::Operation<BrokerInfo> broker_info(Session& session) {
    session.send({"INFO", "server"});
    const Reply reply = co_await session.await_reply();
    if (!is_refused(reply)) throw_if_error(reply, session.peer());
    BrokerInfo info{.product = "Redis"};
    const auto version_of = [&](std::string_view field) -> std::string_view {
        const std::size_t found = reply.text.find(field);
        if (!reply.is(Reply::Type::text) || found == std::string::npos) return {};
        const std::size_t begin = found + field.size();
        return std::string_view{reply.text}.substr(begin, reply.text.find_first_of("\r\n", begin) - begin);
    };
    info.version = version_of("\nredis_version:");
    // Valkey calls itself Redis 7.2 for old clients.
    if (const std::string_view valkey = version_of("\nvalkey_version:"); !valkey.empty()) {
        info.product = "Valkey";
        info.version = valkey;
    }
    co_return info;
}

async::Operation<> drain_replies(Session& session) {
    while (session.outstanding_replies() != 0) {
        session.check();
        co_await async::AwaitInput{};
    }
}

}  // namespace kombu::redis
