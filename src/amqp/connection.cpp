#include "amqp/connection.hpp"

#include <kombu/error.hpp>

#include "amqp/channel.hpp"
#include "amqp/operations.hpp"

#include <utility>

namespace kombu::amqp {

std::shared_ptr<AmqpConnection> AmqpConnection::open(const Endpoint& endpoint, bool confirms, Deadline deadline) {
    std::string password = endpoint.password.reveal();
    // PLAIN joins its fields with NUL: one within a field would end it.
    if (password.find('\0') != std::string::npos)
        throw ConfigurationError("password: must not contain a NUL character");
    auto connection = std::make_shared<AmqpConnection>(endpoint, confirms, deadline);
    connection->run(log_in(connection->session_, endpoint.userid, std::move(password), endpoint.virtual_host),
                    deadline);
    return connection;
}

AmqpConnection::AmqpConnection(const Endpoint& endpoint, bool confirms, Deadline deadline)
    : stream_(endpoint.hostname, endpoint.port, deadline),
      session_(stream_.peer()),
      driver_(stream_, session_),
      confirms_(confirms) {}

void AmqpConnection::check_open() const {
    session_.check();
    if (!stream_.is_open()) throw ConnectionError(stream_.peer() + ": the connection is closed");
}

std::shared_ptr<TransportChannel> AmqpConnection::open_channel(Deadline deadline) {
    check_open();
    auto channel = session_.new_channel();
    run(amqp::open_channel(session_, channel, confirms_), deadline);
    return std::make_shared<AmqpChannel>(shared_from_this(), std::move(channel));
}

bool AmqpConnection::is_alive() noexcept try {
    check_open();
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

void AmqpConnection::close(Deadline deadline) noexcept {
    try {
        if (is_open()) run(close_connection(session_), deadline);
    } catch (const std::exception&) {
        // It is closed now, one way or the other.
    }
    stream_.close();
}

void AmqpConnection::abandon() noexcept {
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

}  // namespace kombu::amqp
