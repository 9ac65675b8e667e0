// SPDX-License-Identifier: BSD-3-Clause
#include "redis/values.hpp"

#include "net/round_trip.hpp"
#include "redis/connection.hpp"
#include "redis/error.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

namespace kombu::redis {
namespace {

/// How often a key is looked at first, on a server that sends no notices; the interval doubles.
constexpr std::chrono::milliseconds first_value_look{5};
constexpr std::chrono::milliseconds longest_value_look{1000};
/// Of a wait without an end.
constexpr std::chrono::seconds longest_request{30};

async::Operation<std::optional<std::string>> get_value(SessionContext& context, std::string key, bool watch) {
    Session& session = context.session;
    if (watch) session.send_formatted(context.caching_command);
    session.send({"GET", key});
    if (watch) {
        const Reply caching = co_await session.await_reply();
        context.notices_refused = !caching.is(Reply::Type::status);
    }
    Reply value = co_await session.await_reply();
    throw_if_error(value, session.peer());
    std::optional<std::string> text;
    if (value.is(Reply::Type::text)) text = std::move(value.text);
    co_return text;
}

async::Operation<> delete_key(SessionContext& context, std::string key) {
    context.session.send({"DEL", key});
    co_await context.session.await_reply(Reply::Type::integer, "DEL");
}

}  // namespace

async::Operation<std::optional<std::string>> await_value(RedisConnection& connection, std::string key,
                                                         std::optional<std::string> known, Deadline until) {
    SessionContext& context = connection.context();
    const std::string full_key = context.keys.value(key);
    const std::vector<std::string> watched{full_key};
    /// The second socket may have been replaced meanwhile.
    struct Unwatch {
        RedisConnection& connection;
        const std::vector<std::string>& keys;
        ~Unwatch() {
            if (Subscriber* const subscriber = connection.subscriber()) subscriber->session.unwatch(keys);
        }
    };
    const Unwatch unwatch{connection, watched};
    auto interval = first_value_look;
    for (;;) {
        if (!until.expired()) co_await connection.enable_notices(until);
        const bool watch = connection.receives_notices();
        if (watch) connection.subscriber()->session.watch(watched);
        auto request = get_value(context, full_key, watch);
        const Deadline deadline = until.is_never() ? Deadline::after(longest_request) : net::allow_round_trip(until);
        auto value = co_await connection.run(std::move(request), deadline);
        if (until.expired() || value != known) co_return value;
        const bool is_reported = connection.receives_notices();
        // A notice may get lost with its socket.
        const Deadline look = Deadline::after(is_reported ? longest_value_look : interval);
        interval = std::min(2 * interval, longest_value_look);
        while (!look.expired() && !until.expired()) {
            if (is_reported && connection.subscriber()->session.has_notice(watched)) break;
            co_await connection.check_subscriber();
            const Deadline next = std::min({until, look, connection.next_subscriber_check()});
            co_await connection.wait_for_input(next, false);
        }
    }
}

async::Operation<> erase_value(RedisConnection& connection, std::string key, Deadline deadline) {
    auto request = delete_key(connection.context(), connection.context().keys.value(key));
    co_await connection.run(std::move(request), deadline);
}

}  // namespace kombu::redis
