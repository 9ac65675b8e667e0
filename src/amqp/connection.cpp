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

/// Who was in use so lately need not be looked at again: the look is a system call, and the peer may as well go right
/// after it.
constexpr std::chrono::milliseconds fresh{1};

/// AMQP knows whole seconds, of 16 bits.
std::chrono::seconds on_the_wire(std::chrono::nanoseconds heartbeat) {
    return std::min(std::chrono::ceil<std::chrono::seconds>(heartbeat), std::chrono::seconds{65535});
}

}  // namespace

async::Operation<std::shared_ptr<TransportConnection>> AmqpConnection::open(const Endpoint& endpoint,
                                                                            const ConnectionParameters& parameters,
                                                                            Deadline deadline) {
    std::string password = endpoint.password.reveal();
    // PLAIN joins its fields with NUL: one within a field would end it.
    if (password.find('\0') != std::string::npos)
        throw ConfigurationError("password: must not contain a NUL character");
    auto connection = std::make_shared<AmqpConnection>(endpoint, parameters.confirm_publish());
    Session& session = connection->session_;
    co_await connection->stream_.connect(deadline);
    co_await connection->run(
        log_in(session, endpoint.userid, std::move(password), endpoint.virtual_host, on_the_wire(parameters.heartbeat)),
        deadline);
    if (session.heartbeat().count() != 0) {
        connection->turn().share();
        net::heartbeat_thread().add(*connection, std::chrono::nanoseconds{session.heartbeat()} / 8);
    }
    co_return connection;
}

AmqpConnection::AmqpConnection(const Endpoint& endpoint, bool confirms)
    : stream_({.host = endpoint.hostname, .port = endpoint.port}),
      session_(stream_.peer()),
      driver_(stream_, session_),
      confirms_(confirms) {}

AmqpConnection::~AmqpConnection() {
    if (session_.heartbeat().count() != 0) net::heartbeat_thread().remove(*this);
    AmqpConnection::abandon();
}

void AmqpConnection::check_open() const {
    session_.check();
    if (!stream_.is_open()) throw ConnectionError(stream_.peer() + ": the connection is closed");
}

async::Operation<std::shared_ptr<TransportChannel>> AmqpConnection::open_channel(Deadline deadline) {
    Driver::Exchange exchange = begin();
    auto channel = session_.new_channel();
    co_await run(amqp::open_channel(session_, channel, confirms_), deadline, std::move(exchange));
    co_return std::make_shared<AmqpChannel>(shared_from_this(), std::move(channel));
}

bool AmqpConnection::is_alive() noexcept try {
    const net::Turn::Held turn{this->turn()};
    check_open();
    if (driver_.idle_time() < fresh) return true;
    driver_.take_in();
    if (!session_.output().empty()) driver_.try_send();  // answers to what was taken in
    if (session_.failed()) stream_.close();
    return is_open();
} catch (const std::exception&) {
    return false;
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
        // It is closed now, one way or the other.
    }
    stream_.close();
}

void AmqpConnection::abandon() noexcept {
    const net::Turn::Held turn{this->turn()};
    // The broker logs a connection that vanishes without a word; a word that can be said without waiting is said.
    if (is_open() && session_.output().empty()) {
        try {
            amqp_connection_close_t close{200, bytes("goodbye"), 0, 0};
            session_.send(0, AMQP_CONNECTION_CLOSE_METHOD, &close);
            driver_.try_send();
        } catch (const std::exception&) {
        }
    }
    stream_.close();
}

bool AmqpConnection::try_retain() noexcept {
    kept_ = session_.failed() ? nullptr : weak_from_this().lock();
    return kept_ != nullptr;
}

void AmqpConnection::run() noexcept {
    driver_.keep_alive(Clock::now());
    // The last to hold it, maybe: nothing of it may be touched after this.
    const std::shared_ptr<AmqpConnection> kept = std::move(kept_);
}

}  // namespace kombu::amqp
