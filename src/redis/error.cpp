#include "redis/error.hpp"

#include <kombu/error.hpp>

#include "support/validation.hpp"

#include <algorithm>

namespace kombu::redis {
namespace {

constexpr std::size_t shown = 300;

}  // namespace

std::string_view error_kind(const Reply& reply) noexcept {
    if (!reply.is(Reply::Type::error)) return {};
    std::string_view text = reply.text;
    // Before Redis 7 what a command within a script was refused for stands at the end of what is said of the script.
    if (text.starts_with("ERR Error running script"))
        if (const std::size_t at = text.rfind(": -"); at != std::string_view::npos) text.remove_prefix(at + 3);
    return text.substr(0, std::min(text.find(' '), text.size()));
}

void throw_if_error(const Reply& reply, const std::string& peer) {
    if (!reply.is(Reply::Type::error)) return;
    const std::string_view kind = error_kind(reply);
    const std::string what = peer + ": " + reply.text.substr(0, shown);
    if (is_one_of(kind, {"NOAUTH", "WRONGPASS"}) ||
        reply.text.find("AUTH <password> called without any password") != std::string::npos)
        throw AuthenticationError(what);
    if (kind == "LOADING") throw LoadingError(what);
    if (is_one_of(kind, {"READONLY", "MASTERDOWN", "UNBLOCKED"})) throw ReadOnlyError(what);
    if (is_one_of(kind, {"MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN"}))
        throw MovedError(what + " (Redis Cluster is not supported)");
    if (kind == "OOM") throw OutOfMemoryError(what);
    if (is_one_of(kind, {"BUSY", "NOREPLICAS", "MISCONF", "TRYAGAIN"})) throw BusyError(what);
    if (kind == "NOPERM") throw ChannelError(what, 403);
    throw ChannelError(what);
}

void unexpected(const std::string& peer, const char* command) {
    throw ConnectionError(peer + ": an answer to " + command + " that it cannot have", 0, false);
}

}  // namespace kombu::redis
