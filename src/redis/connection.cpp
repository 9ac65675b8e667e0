#include "redis/connection.hpp"

#include <kombu/error.hpp>

#include "redis/channel.hpp"
#include "redis/operations.hpp"
#include "redis/transport.hpp"

#include <algorithm>
#include <chrono>

namespace kombu::redis {
namespace {

/// Who was in use so lately need not be looked at again: the look is a system call, and the peer may as well go right
/// after it.
constexpr std::chrono::milliseconds recently_used{1};

}  // namespace

net::StreamTarget target_of(const std::string& host, std::uint16_t port, const Options& options,
                            const std::optional<SslOptions>& ssl) {
    return {.host = host, .port = port, .tls = ssl, .keep_alive = options.keep_alive};
}

RedisConnection::RedisConnection(const Endpoint& endpoint, const ConnectionParameters& parameters)
    : stream_(target_of(endpoint.hostname, endpoint.port, parse_options(parameters.transport_options), parameters.ssl)),
      link_(stream_.peer(), parse_options(parameters.transport_options), database_of(endpoint)),
      driver_(stream_, link_.session),
      userid_(endpoint.userid),
      password_(endpoint.password) {}

async::Operation<std::shared_ptr<TransportConnection>> RedisConnection::open(const Endpoint& endpoint,
                                                                             const ConnectionParameters& parameters,
                                                                             Deadline deadline, bool must_be_master) {
    auto connection = std::make_shared<RedisConnection>(endpoint, parameters);
    const Options& options = connection->link_.options;
    const Deadline by = options.socket_connect_timeout.count() == 0
                            ? deadline
                            : std::min(deadline, Deadline::after(options.socket_connect_timeout));
    std::string password = endpoint.password.reveal();
    if (endpoint.password.is_function() && options.reauth_check_interval.count() != 0) {
        connection->known_password_ = password;
        connection->next_password_ = Deadline::after(options.reauth_check_interval);
    }
    co_await connection->stream_.connect(by);
    auto login = log_in(connection->link_, endpoint.userid, std::move(password), must_be_master);
    co_await connection->driver_.run(std::move(login), by);
    co_return connection;
}

void RedisConnection::check_open() const {
    link_.session.check();
    if (!stream_.is_open()) throw ConnectionError(stream_.peer() + ": the connection is closed");
}

async::Operation<> RedisConnection::take_care(Deadline deadline) {
    if (next_password_.expired()) {
        next_password_ = Deadline::after(link_.options.reauth_check_interval);
        std::string password = password_.reveal();
        if (password != known_password_) {
            known_password_ = password;
            auto login = log_in_again(link_.session, userid_, std::move(password));
            co_await driver_.run(std::move(login), deadline);
        }
    }
    if (link_.options.health_check_interval.count() != 0 &&
        driver_.idle_time() >= link_.options.health_check_interval) {
        auto check = ping(link_.session);
        co_await driver_.run(std::move(check), deadline);
    }
}

async::Operation<std::shared_ptr<TransportChannel>> RedisConnection::open_channel(Deadline) {
    check_open();
    co_return std::make_shared<RedisChannel>(shared_from_this());
}

bool RedisConnection::is_alive() noexcept try {
    check_open();
    take_in(driver_.idle_time());
    return is_open();
} catch (const std::exception&) {
    return false;
}

void RedisConnection::take_in(Clock::duration idle) {
    if (idle >= recently_used) driver_.take_in();
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
            delete_exclusive_queues(link_);
            // What was said last counts only once it is answered: a socket closed on unread answers takes it back.
            auto last = settle(link_.session);
            co_await driver_.run(std::move(last), deadline);
        }
    } catch (const std::exception&) {
        // It is closed now, one way or the other.
    }
    stream_.close();
}

void RedisConnection::abandon() noexcept {
    if (is_open() && link_.session.output().empty()) {
        try {
            delete_exclusive_queues(link_);
            driver_.try_send();
        } catch (const std::exception&) {
        }
    }
    stream_.close();
}

}  // namespace kombu::redis
