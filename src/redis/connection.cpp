// SPDX-License-Identifier: BSD-3-Clause
#include "redis/connection.hpp"

#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "net/heartbeat_thread.hpp"
#include "net/round_trip.hpp"
#include "redis/channel.hpp"
#include "redis/operations.hpp"
#include "redis/transport.hpp"
#include "redis/values.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>

namespace kombu::redis {
namespace {

/// A connection that was used this recently is not polled: polling costs a system call, and the peer may as well close
/// right after it.
constexpr std::chrono::milliseconds recently_used{1};
/// How often the second socket is read while its connection is used for other things. Redis disconnects a subscriber
/// that does not read.
constexpr std::chrono::milliseconds subscriber_poll_interval{50};
/// The longest time for opening the second socket, since the consumer does not look at its queue meanwhile, and the
/// time that even a short wait allows. The latter leaves time for a last look at the queue.
constexpr std::chrono::milliseconds subscriber_timeout{2000}, least_subscriber_timeout{500};
/// The time after which opening it is tried again; twice as long after each attempt, up to the second one.
constexpr std::chrono::seconds first_subscriber_retry{10}, last_subscriber_retry{300};
/// How often the first socket is checked while its connection waits for the second one.
constexpr std::chrono::seconds check_interval{1};

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

Deadline connect_deadline(const Options& options, Deadline deadline) {
    const auto timeout = options.socket_connect_timeout;
    return timeout.count() == 0 ? deadline : std::min(deadline, Deadline::after(timeout));
}

async::Operation<bool> may_track(Session& session) {
    session.send({"CLIENT", "TRACKING", "OFF"});
    const Reply reply = co_await session.await_reply();
    co_return reply.is(Reply::Type::status);
}

}  // namespace

RedisConnection::RedisConnection(const Endpoint& endpoint, const ConnectionParameters& parameters)
    : target_(stream_target(endpoint.hostname, endpoint.port, options_of(parameters), parameters.ssl)),
      stream_(target_),
      context_(stream_.peer(), options_of(parameters), database_of(endpoint)),
      driver_(stream_, context_.session),
      userid_(endpoint.userid),
      password_(endpoint.password),
      held_messages_(context_.options.visibility_timeout),
      subscriber_retry_(first_subscriber_retry) {}

async::Operation<std::shared_ptr<TransportConnection>> RedisConnection::open(const Endpoint& endpoint,
                                                                             const ConnectionParameters& parameters,
                                                                             Deadline deadline, bool must_be_master) {
    auto connection = std::make_shared<RedisConnection>(endpoint, parameters);
    const Options& options = connection->context_.options;
    const Deadline until = connect_deadline(options, deadline);
    std::string password = endpoint.password.reveal();
    if (endpoint.password.is_function() && options.reauth_check_interval.count() != 0) {
        connection->current_password_ = password;
        connection->next_password_check_ = Deadline::after(options.reauth_check_interval);
    }
    co_await connection->stream_.connect(until);
    auto login = log_in(connection->context_, endpoint.userid, std::move(password), must_be_master);
    co_await connection->driver_.run(std::move(login), until);
    co_return connection;
}

void RedisConnection::check_open() const {
    context_.session.check();
    if (subscriber_ && subscriber_->is_established) subscriber_->session.check();
    if (!is_open()) throw ConnectionError(stream_.peer() + ": the connection is closed");
}

async::Operation<std::optional<std::string>> RedisConnection::await_value(std::string key,
                                                                          std::optional<std::string> known,
                                                                          Deadline until) {
    return redis::await_value(*this, std::move(key), std::move(known), until);
}

async::Operation<> RedisConnection::erase_value(std::string key, Deadline deadline) {
    return redis::erase_value(*this, std::move(key), deadline);
}

async::Operation<BrokerInfo> RedisConnection::broker_info(Deadline deadline) {
    const auto start = Clock::now();
    co_await run(ping(context_.session), deadline);
    const Clock::duration round_trip = Clock::now() - start;
    BrokerInfo info = co_await run(redis::broker_info(context_.session), deadline);
    info.tls = stream_.tls_version();
    info.round_trip = round_trip;
    co_return info;
}

bool RedisConnection::is_open() const noexcept {
    return stream_.is_open() && !context_.session.failed() &&
           !(subscriber_ && subscriber_->is_established && !subscriber_->is_open());
}

std::exception_ptr RedisConnection::failure() const {
    if (context_.session.failed() || !subscriber_) return context_.session.failure();
    return subscriber_->is_established ? subscriber_->session.failure() : nullptr;
}

void RedisConnection::interrupt() noexcept {
    interrupted_ = true;
    stream_.shutdown();
    std::lock_guard lock{subscriber_mutex_};
    if (subscriber_) subscriber_->stream.shutdown();
}

void RedisConnection::set_subscriber(std::unique_ptr<Subscriber> subscriber) {
    std::lock_guard lock{subscriber_mutex_};
    subscriber_ = std::move(subscriber);
}

async::Operation<> RedisConnection::open_subscriber(Deadline deadline) {
    if (subscriber_) co_return;
    /// Closes the socket if it is not opened completely, also when this operation is cancelled.
    struct Attempt {
        RedisConnection& connection;
        ~Attempt() {
            if (!connection.subscriber_->is_established) connection.set_subscriber(nullptr);
        }
    };
    set_subscriber(std::make_unique<Subscriber>(target_, context_.options));
    const Attempt attempt{*this};
    if (interrupted_) throw ConnectionError(stream_.peer() + ": the connection was interrupted");
    const Deadline until = connect_deadline(context_.options, deadline);
    co_await subscriber_->stream.connect_beside(stream_, until);
    auto login = log_in_subscriber(subscriber_->session, userid_, password_.reveal());
    subscriber_->client_id = co_await subscriber_->driver.run(std::move(login), until);
    subscriber_->is_established = true;
    next_subscriber_check_ = Deadline::after(context_.options.health_check_interval);
}

async::Operation<bool> RedisConnection::enable_notices(Deadline until) {
    if (receives_notices()) co_return true;
    if (context_.notices_refused || !next_subscriber_attempt_.expired()) co_return false;
    context_.notices_refused = !co_await run(may_track(context_.session), Deadline::after(net::max_round_trip));
    if (context_.notices_refused) co_return false;
    std::string error_text;
    try {
        co_await open_subscriber(
            std::min(Deadline::after(subscriber_timeout), std::max(until, Deadline::after(least_subscriber_timeout))));
    } catch (const OperationalError& error) {
        error_text = error.what();
    }
    check_open();
    if (!error_text.empty()) {
        next_subscriber_attempt_ = Deadline::after(subscriber_retry_);
        subscriber_retry_ = std::min(2 * subscriber_retry_, last_subscriber_retry);
        log(LogLevel::warning,
            "a second socket for notices of new messages cannot be opened, and the queue is polled: " + error_text);
        co_return false;
    }
    if (subscriber_->client_id != 0)
        subscriber_->receives_notices = co_await run(enable_tracking(context_.session, subscriber_->client_id),
                                                     Deadline::after(net::max_round_trip));
    context_.notices_refused = !subscriber_->receives_notices;
    if (context_.notices_refused && subscriber_->session.subscriptions().empty()) set_subscriber(nullptr);
    co_return !context_.notices_refused;
}

Deadline RedisConnection::next_subscriber_check() const noexcept {
    return subscriber_ && context_.options.health_check_interval.count() != 0 ? next_subscriber_check_
                                                                              : Deadline::never();
}

async::Operation<> RedisConnection::check_subscriber() {
    if (!next_subscriber_check().expired()) co_return;
    next_subscriber_check_ = Deadline::after(context_.options.health_check_interval);
    co_await run_on_subscriber(ping(subscriber_->session), Deadline::after(net::max_round_trip));
}

async::Operation<> RedisConnection::wait_for_input(Deadline until, bool wakeable) {
    check_open();
    if (!subscriber_) {
        co_await driver_.await_input(until, wakeable);
        check_open();
        co_return;
    }
    const Deadline next_check = std::min(until, Deadline::after(check_interval));
    try_send();
    co_await subscriber_->driver.await_input(next_check, wakeable);
    if (next_check.expired() && !until.expired()) {
        const net::SessionLock::Guard guard{session_lock()};
        driver_.poll();
    }
    check_open();
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
    auto channel = std::make_shared<RedisChannel>(shared_from_this());
    channels_.push_back(channel);
    co_return channel;
}

bool RedisConnection::is_alive() noexcept try {
    const net::SessionLock::Guard guard{session_lock()};
    if (!is_open()) return false;
    poll_if_idle(driver_.idle_time());
    poll_subscriber();
    return is_open();
} catch (const std::exception&) {
    return false;
}

void RedisConnection::poll_if_idle(Clock::duration idle) {
    if (idle >= recently_used) driver_.poll();
    if (subscriber_ && Clock::now() - last_subscriber_poll_ > subscriber_poll_interval) poll_subscriber();
}

void RedisConnection::poll_subscriber() {
    if (!subscriber_) return;
    last_subscriber_poll_ = Clock::now();
    subscriber_->driver.poll();
}

async::Operation<> RedisConnection::send_output(Deadline deadline) {
    Driver::RequestScope request{driver_};
    if (!driver_.try_send(deadline)) co_await driver_.flush(deadline);
    request.end();
}

bool RedisConnection::try_send() noexcept try {
    const net::SessionLock::Guard guard{session_lock()};
    check_open();
    return driver_.try_send() && (!subscriber_ || subscriber_->driver.try_send());
} catch (const std::exception&) {
    return false;
}

async::Operation<> RedisConnection::close(Deadline deadline) {
    try {
        if (is_open()) {
            const net::SessionLock::Guard guard{session_lock()};
            delete_exclusive_queues(context_);
            // Wait for the replies: closing a socket with unread input resets the connection, and the server may lose
            // the last commands.
            auto drain = drain_replies(context_.session);
            co_await driver_.run(std::move(drain), deadline);
        }
    } catch (const std::exception&) {
        // The connection is closed in any case.
    }
    close_sockets();
}

RedisConnection::~RedisConnection() {
    if (is_renewing_) net::heartbeat_thread().remove(*this);
    RedisConnection::abandon();
}

void RedisConnection::abandon() noexcept {
    const net::SessionLock::Guard guard{session_lock()};
    if (is_open() && context_.session.output().empty()) {
        try {
            delete_exclusive_queues(context_);
            driver_.try_send();
        } catch (const std::exception&) {
        }
    }
    close_sockets();
}

void RedisConnection::close_sockets() noexcept {
    stream_.close();
    if (subscriber_) subscriber_->stream.close();
}

}  // namespace kombu::redis
