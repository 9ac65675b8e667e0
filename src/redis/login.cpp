#include <kombu/error.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <string_view>
#include <utility>

namespace kombu::redis {
namespace {

/// Whether a server that answers HELLO so is too old for it, or does not let this user use it.
bool does_without_hello(const Reply& reply) {
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

std::string_view value_of(const Reply& map, std::string_view name) {
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

/// What a session begins with, in RESP 2. Returns the server's role when it matters.
async::Operation<std::string> begin_plainly(Link& link, const std::string& userid, const std::string& password,
                                            bool must_be_master) {
    Session& session = link.session;
    const std::string& name = link.options.client_name;
    const std::string database = std::to_string(link.database);
    const bool logs_in = !userid.empty() || !password.empty();
    if (logs_in) send_auth(session, userid, password);
    if (!name.empty()) session.send({"CLIENT", "SETNAME", name});
    if (link.database != 0) session.send({"SELECT", database});
    session.send({"PING"});
    if (must_be_master) session.send({"ROLE"});
    const int answers = logs_in + !name.empty() + (link.database != 0) + 1;
    for (int i = 0; i < answers; ++i) {
        const Reply reply = co_await session.reply();
        throw_if_error(reply, session.peer());
    }
    if (!must_be_master) co_return std::string{};
    const Reply role = co_await session.reply(Reply::Type::array, "ROLE");
    co_return role.elements.empty() ? std::string{} : role.elements[0].text;
}

/// The same in RESP 3. Nothing when the server does not speak that.
async::Operation<std::optional<std::string>> begin_by_hello(Link& link, const std::string& userid,
                                                            const std::string& password) {
    Session& session = link.session;
    const std::string database = std::to_string(link.database);
    send_hello(session, userid, password);
    session.send({"SELECT", database});
    session.send({"CLIENT", "TRACKING", "ON", "OPTIN"});
    session.send({"PING"});
    const Reply hello = co_await session.reply();
    const Reply selected = co_await session.reply();
    const Reply tracking = co_await session.reply();
    const Reply pong = co_await session.reply();
    if (does_without_hello(hello)) co_return std::nullopt;
    throw_if_error(hello, session.peer());
    throw_if_error(selected, session.peer());
    throw_if_error(pong, session.peer());
    if (!hello.is(Reply::Type::array) || value_of(hello, "role").empty()) unexpected(session.peer(), "HELLO");
    session.set_tracking(tracking.is(Reply::Type::status));
    co_return std::string{value_of(hello, "role")};
}

}  // namespace

async::Operation<> log_in(Link& link, std::string userid, std::string password, bool must_be_master) {
    Session& session = link.session;
    std::string role;
    try {
        std::optional<std::string> known = co_await begin_by_hello(link, userid, password);
        if (known)
            role = std::move(*known);
        else
            role = co_await begin_plainly(link, userid, password, must_be_master);
    } catch (const ChannelError& error) {
        // There is no channel yet that it could cost.
        throw ConnectionError(error.what(), error.code(), error.is_retryable());
    }
    session.wipe_output();
    if (must_be_master && role != "master")
        throw ReadOnlyError(session.peer() + ": this is no master but a " + (role.empty() ? "stranger" : role));
}

async::Operation<> log_in_again(Session& session, std::string userid, std::string password) {
    send_auth(session, userid, password);
    const Reply reply = co_await session.reply();
    session.wipe_output();
    throw_if_error(reply, session.peer());
}

async::Operation<> ping(Session& session) {
    session.send({"PING"});
    const Reply pong = co_await session.reply();
    throw_if_error(pong, session.peer());
}

async::Operation<> settle(Session& session) {
    while (session.outstanding() != 0) {
        session.check();
        co_await async::AwaitInput{};
    }
}

}  // namespace kombu::redis
