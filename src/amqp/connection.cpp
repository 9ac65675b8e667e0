// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/connection.hpp"

#include <kombu/error.hpp>

#include "amqp/channel.hpp"
#include "amqp/operations.hpp"
#include "net/heartbeat_thread.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu::amqp {
namespace {

/// A connection that was used within this time, or in the same tick of the coarse clock, is not checked again: the
/// check is a system call, and the peer may close right after it anyway.
constexpr std::chrono::milliseconds recently_used{1};

/// AMQP carries the heartbeat interval as whole seconds in 16 bits.
std::chrono::seconds wire_heartbeat(std::chrono::nanoseconds heartbeat) {
    return std::min(std::chrono::ceil<std::chrono::seconds>(heartbeat), std::chrono::seconds{65535});
}

}  // namespace

async::Operation<std::shared_ptr<TransportConnection>> AmqpConnection::open(const Endpoint& endpoint,
                                                                            const ConnectionParameters& parameters,
                                                                            Deadline deadline) {
    Login login{.method = parameters.login_method, .userid = endpoint.userid, .virtual_host = endpoint.virtual_host};
    if (login.method != "EXTERNAL") login.password = endpoint.password.reveal();
    // PLAIN separates its fields with NUL: a NUL within a field would end it.
    if (login.password.find('\0') != std::string::npos)
        throw ConfigurationError("password: must not contain a NUL character");
    auto connection = std::make_shared<AmqpConnection>(endpoint, parameters);
    Session& session = connection->session_;
    co_await connection->stream_.connect(deadline);
    co_await connection->run(log_in(session, std::move(login), wire_heartbeat(parameters.heartbeat)), deadline);
    if (session.heartbeat().count() != 0) {
        connection->session_lock().enable_background();
        net::heartbeat_thread().add(*connection, std::chrono::nanoseconds{session.heartbeat()} / 8);
    }
    co_return connection;
}

AmqpConnection::AmqpConnection(const Endpoint& endpoint, const ConnectionParameters& parameters)
    : stream_({.host = endpoint.hostname, .port = endpoint.port, .tls = parameters.ssl}),
      session_(stream_.peer()),
      driver_(stream_, session_),
      confirms_(parameters.confirm_publish()) {}

AmqpConnection::~AmqpConnection() {
    if (session_.heartbeat().count() != 0) net::heartbeat_thread().remove(*this);
    AmqpConnection::abandon();
}

void AmqpConnection::check_open() const {
    session_.check();
    if (!stream_.is_open()) throw ConnectionError(stream_.peer() + ": the connection is closed");
}

async::Operation<std::shared_ptr<TransportChannel>> AmqpConnection::open_channel(Deadline deadline) {
    co_await await_unblocked(deadline);
    Driver::RequestScope request = begin_request();
    auto channel = session_.new_channel();
    co_await run(amqp::open_channel(session_, channel, confirms_), deadline, std::move(request));
    co_return std::make_shared<AmqpChannel>(shared_from_this(), std::move(channel));
}

async::Operation<BrokerInfo> AmqpConnection::broker_info(Deadline deadline) {
    co_await await_unblocked(deadline);
    BrokerInfo info = session_.broker();
    info.tls = stream_.tls_version();
    // AMQP has no ping: a channel is opened.
    Driver::RequestScope request = begin_request();
    const auto channel = session_.new_channel();
    const auto start = Clock::now();
    co_await run(amqp::open_channel(session_, channel, false), deadline, std::move(request));
    info.round_trip = Clock::now() - start;
    co_await run(amqp::close_channel(session_, channel), deadline);
    co_return info;
}

async::Operation<> AmqpConnection::await_events(Deadline until, Deadline wake_at, bool wakeable) {
    check_open();
    co_await driver_.await_input(std::min(until, wake_at), wakeable);
    if (session_.failed()) stream_.close();
    check_open();
}

async::Operation<> AmqpConnection::await_unblocked(Deadline deadline) {
    Driver::RequestScope request = begin_request();
    if (session_.blocked())
        co_await driver_.run(amqp::await_unblocked(session_, deadline), deadline, std::move(request));
}

bool AmqpConnection::is_alive() noexcept try {
    const net::SessionLock::Guard guard{this->session_lock()};
    if (!is_open()) return false;
    if (driver_.idle_time() < recently_used) return true;
    driver_.poll();
    if (!session_.output().empty()) driver_.try_send();  // responses to the received methods
    if (session_.failed()) stream_.close();
    return is_open();
} catch (const std::exception&) {
    return false;
}

void AmqpConnection::poll_for_close() {
    const net::SessionLock::Guard guard{this->session_lock()};
    check_open();
    driver_.poll();
    driver_.try_send();  // responses to the received methods
    check_open();
}

bool AmqpConnection::try_send() noexcept try {
    check_open();
    return driver_.try_send();
} catch (const std::exception&) {
    return false;
}

async::Operation<> AmqpConnection::close(Deadline deadline) {
    try {
        if (is_open()) co_await run(close_connection(session_), deadline);
    } catch (const std::exception&) {
        // The stream is closed below in any case.
    }
    stream_.close();
}

void AmqpConnection::abandon() noexcept {
    const net::SessionLock::Guard guard{this->session_lock()};
    // The broker logs connections that end without connection.close: send it if that needs no waiting.
    if (is_open() && session_.output().empty()) {
        try {
            amqp_connection_close_t close{200, bytes("Normal shutdown"), 0, 0};
            session_.send(0, AMQP_CONNECTION_CLOSE_METHOD, &close);
            driver_.try_send();
        } catch (const std::exception&) {
        }
    }
    stream_.close();
}

bool AmqpConnection::try_retain() noexcept {
    self_ = session_.failed() ? nullptr : weak_from_this().lock();
    return self_ != nullptr;
}

void AmqpConnection::run() noexcept {
    driver_.keep_alive(Clock::now());
    // This may be the last reference: no member may be touched after it is released.
    const std::shared_ptr<AmqpConnection> self = std::move(self_);
}

}  // namespace kombu::amqp
