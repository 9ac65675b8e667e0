// SPDX-License-Identifier: BSD-3-Clause
#include "redis/connection.hpp"

#include <kombu/error.hpp>

#include "redis/channel.hpp"
#include "redis/operations.hpp"
#include "redis/transport.hpp"

#include <algorithm>
#include <chrono>

namespace kombu::redis {
namespace {

/// A connection that was used this recently is not polled: polling costs a system call, and the peer may as well close
/// right after it.
constexpr std::chrono::milliseconds recently_used{1};

}  // namespace

net::StreamTarget stream_target(const std::string& host, std::uint16_t port, const Options& options,
                                const std::optional<SslOptions>& ssl) {
    return {.host = host, .port = port, .tls = ssl, .keep_alive = options.keep_alive};
}

namespace {

/// Redis has no heartbeats. PING before the use of a connection that was idle for as long serves the same purpose.
Options options_of(const ConnectionParameters& parameters) {
    Options options = parse_options(parameters.transport_options);
    if (parameters.heartbeat.count() != 0)
        options.health_check_interval =
            std::min<Options::Duration>(options.health_check_interval, parameters.heartbeat);
    return options;
}

}  // namespace

RedisConnection::RedisConnection(const Endpoint& endpoint, const ConnectionParameters& parameters)
    : stream_(stream_target(endpoint.hostname, endpoint.port, options_of(parameters), parameters.ssl)),
      context_(stream_.peer(), options_of(parameters), database_of(endpoint)),
      driver_(stream_, context_.session),
      userid_(endpoint.userid),
      password_(endpoint.password) {}

async::Operation<std::shared_ptr<TransportConnection>> RedisConnection::open(const Endpoint& endpoint,
                                                                             const ConnectionParameters& parameters,
                                                                             Deadline deadline, bool must_be_master) {
    auto connection = std::make_shared<RedisConnection>(endpoint, parameters);
    const Options& options = connection->context_.options;
    const Deadline connect_deadline = options.socket_connect_timeout.count() == 0
                                          ? deadline
                                          : std::min(deadline, Deadline::after(options.socket_connect_timeout));
    std::string password = endpoint.password.reveal();
    if (endpoint.password.is_function() && options.reauth_check_interval.count() != 0) {
        connection->current_password_ = password;
        connection->next_password_check_ = Deadline::after(options.reauth_check_interval);
    }
    co_await connection->stream_.connect(connect_deadline);
    auto login = log_in(connection->context_, endpoint.userid, std::move(password), must_be_master);
    co_await connection->driver_.run(std::move(login), connect_deadline);
    co_return connection;
}

void RedisConnection::check_open() const {
    context_.session.check();
    if (!stream_.is_open()) throw ConnectionError(stream_.peer() + ": the connection is closed");
}

async::Operation<> RedisConnection::housekeeping(Deadline deadline) {
    if (next_password_check_.expired()) {
        next_password_check_ = Deadline::after(context_.options.reauth_check_interval);
        std::string password = password_.reveal();
        if (password != current_password_) {
            current_password_ = password;
            auto login = reauthenticate(context_.session, userid_, std::move(password));
            co_await driver_.run(std::move(login), deadline);
        }
    }
    if (context_.options.health_check_interval.count() != 0 &&
        driver_.idle_time() >= context_.options.health_check_interval) {
        auto check = ping(context_.session);
        co_await driver_.run(std::move(check), deadline);
    }
}

async::Operation<std::shared_ptr<TransportChannel>> RedisConnection::open_channel(Deadline) {
    check_open();
    co_return std::make_shared<RedisChannel>(shared_from_this());
}

bool RedisConnection::is_alive() noexcept try {
    check_open();
    poll_if_idle(driver_.idle_time());
    return is_open();
} catch (const std::exception&) {
    return false;
}

void RedisConnection::poll_if_idle(Clock::duration idle) {
    if (idle >= recently_used) driver_.poll();
}

bool RedisConnection::try_send() noexcept try {
    check_open();
    return driver_.try_send();
} catch (const std::exception&) {
    return false;
}

async::Operation<> RedisConnection::close(Deadline deadline) {
    try {
        if (is_open()) {
            delete_exclusive_queues(context_);
            // Wait for the replies: closing a socket with unread input resets the connection, and the server may lose
            // the last commands.
            auto drain = drain_replies(context_.session);
            co_await driver_.run(std::move(drain), deadline);
        }
    } catch (const std::exception&) {
        // The connection is closed in any case.
    }
    stream_.close();
}

void RedisConnection::abandon() noexcept {
    if (is_open() && context_.session.output().empty()) {
        try {
            delete_exclusive_queues(context_);
            driver_.try_send();
        } catch (const std::exception&) {
        }
    }
    stream_.close();
}

}  // namespace kombu::redis
