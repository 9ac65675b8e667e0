// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>

#include "redis/error.hpp"
#include "redis/operations.hpp"

#include <algorithm>
#include <cctype>
#include <utility>

namespace kombu::redis {
namespace {

/// Whether the reply refuses the command of a script, and not a command within the script.
bool refuses_command(const Reply& reply, std::string_view name) {
    if (!is_refused(reply)) return false;
    std::string text = reply.text;
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    const auto quoted = [&](char quote) { return text.find(quote + std::string{name} + quote) != std::string::npos; };
    return quoted('\'') || quoted('`');
}

void append_call(std::string& out, std::string_view command, std::string_view script, std::span<const std::string> keys,
                 std::span<const std::string> arguments) {
    const std::string key_count = std::to_string(keys.size());
    std::vector<std::string_view> call{command, script, key_count};
    call.insert(call.end(), keys.begin(), keys.end());
    call.insert(call.end(), arguments.begin(), arguments.end());
    append_command(out, call);
}

}  // namespace

std::string evalsha_command(const Script& script, const ScriptArguments& with) {
    std::string command;
    append_call(command, "EVALSHA", script.sha1, with.keys, with.values);
    return command;
}

async::Operation<Reply> run_script(Session& session, const Script& script, ScriptArguments with) {
    const auto send = [&](std::string_view command) {
        const std::string_view text = command == "EVAL" ? script.text : std::string_view{script.sha1};
        append_call(session.output(), command, text, with.keys, with.values);
        session.expect_reply();
    };
    if (!session.evalsha_refused) {
        send("EVALSHA");
        Reply reply = co_await session.await_reply();
        session.evalsha_refused = refuses_command(reply, "evalsha");
        if (!session.evalsha_refused && error_prefix(reply) != "NOSCRIPT") {
            throw_if_error(reply, session.peer());
            co_return reply;
        }
    }
    if (!session.eval_refused) {
        send("EVAL");
        Reply reply = co_await session.await_reply();
        session.eval_refused = refuses_command(reply, "eval");
        if (!session.eval_refused) {
            throw_if_error(reply, session.peer());
            co_return reply;
        }
    }
    if (session.evalsha_refused)
        throw ChannelError(session.peer() + ": the user may call neither EVALSHA nor EVAL, which receiving needs", 403);
    session.send({"SCRIPT", "LOAD", script.text});
    co_await session.await_reply(Reply::Type::text, "SCRIPT LOAD");
    send("EVALSHA");
    Reply reply = co_await session.await_reply();
    throw_if_error(reply, session.peer());
    co_return reply;
}

void send_script_nowait(Session& session, const Script& script, const ScriptArguments& with) {
    // By its text: an EVALSHA that fails with NOSCRIPT could not be repeated.
    if (session.eval_refused)
        append_call(session.output(), "EVALSHA", script.sha1, with.keys, with.values);
    else
        append_call(session.output(), "EVAL", script.text, with.keys, with.values);
    session.expect_reply();
    session.ignore_reply();
}

}  // namespace kombu::redis
