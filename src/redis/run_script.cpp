// SPDX-License-Identifier: BSD-3-Clause
#include "redis/error.hpp"
#include "redis/operations.hpp"

namespace kombu::redis {

async::Operation<Reply> run_script(Session& session, const Script& script, std::vector<std::string> keys,
                                   std::vector<std::string> arguments) {
    session.send_script(script, keys, arguments);
    Reply reply = co_await session.await_reply();
    if (error_prefix(reply) == "NOSCRIPT") {
        session.clear_loaded_scripts();
        session.send_script(script, keys, arguments);
        reply = co_await session.await_reply();
    }
    throw_if_error(reply, session.peer());
    co_return reply;
}

}  // namespace kombu::redis
