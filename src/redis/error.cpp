// SPDX-License-Identifier: BSD-3-Clause
#include "redis/error.hpp"

#include <kombu/error.hpp>

#include "support/validation.hpp"

#include <algorithm>

namespace kombu::redis {
namespace {

constexpr std::size_t max_error_text = 300;

}  // namespace

std::string_view error_prefix(const Reply& reply) noexcept {
    if (!reply.is(Reply::Type::error)) return {};
    std::string_view text = reply.text;
    // Before Redis 7 the error of a command within a script is at the end of the script's error text.
    if (text.starts_with("ERR Error running script"))
        if (const std::size_t at = text.rfind(": -"); at != std::string_view::npos) text.remove_prefix(at + 3);
    return text.substr(0, std::min(text.find(' '), text.size()));
}

bool is_refused(const Reply& reply) noexcept {
    const auto contains = [&](const char* text) { return reply.text.find(text) != std::string::npos; };
    return reply.is(Reply::Type::error) &&
           (contains("NOPERM") || contains("nknown command") || contains("nknown subcommand") ||
            contains("can't run this command") || contains("nknown Redis command"));
}

void throw_if_error(const Reply& reply, const std::string& peer) {
    if (!reply.is(Reply::Type::error)) return;
    const std::string_view prefix = error_prefix(reply);
    const std::string what = peer + ": " + reply.text.substr(0, max_error_text);
    if (is_one_of(prefix, {"NOAUTH", "WRONGPASS"}) ||
        reply.text.find("AUTH <password> called without any password") != std::string::npos)
        throw AuthenticationError(what);
    if (prefix == "LOADING") throw LoadingError(what);
    if (is_one_of(prefix, {"READONLY", "MASTERDOWN", "UNBLOCKED"})) throw ReadOnlyError(what);
    if (is_one_of(prefix, {"MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN"}))
        throw MovedError(what + " (Redis Cluster is not supported)");
    if (prefix == "OOM") throw OutOfMemoryError(what);
    if (is_one_of(prefix, {"BUSY", "NOREPLICAS", "MISCONF", "TRYAGAIN"})) throw BusyError(what);
    if (prefix == "DENIED") throw ConnectionError(what, 0, false);
    if (reply.text.starts_with("ERR max number of clients")) throw ConnectionError(what);
    if (is_refused(reply)) throw ChannelError(what, 403);
    throw ChannelError(what);
}

void unexpected_reply(const std::string& peer, const char* command) {
    throw ConnectionError(peer + ": unexpected reply to " + command, 0, false);
}

}  // namespace kombu::redis
