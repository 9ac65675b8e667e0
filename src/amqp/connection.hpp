#pragma once

#include <kombu/transport.hpp>

#include "amqp/session.hpp"
#include "net/blocking_driver.hpp"
#include "net/tcp_stream.hpp"

#include <memory>

namespace kombu::amqp {

/// An AMQP session over TCP, driven by the threads that use it.
class AmqpConnection final : public TransportConnection, public std::enable_shared_from_this<AmqpConnection> {
public:
    /// Connects and logs in.
    static std::shared_ptr<AmqpConnection> open(const Endpoint& endpoint, bool confirms, Deadline deadline);

    AmqpConnection(const Endpoint& endpoint, bool confirms, Deadline deadline);
    ~AmqpConnection() override { AmqpConnection::abandon(); }

    std::shared_ptr<TransportChannel> open_channel(Deadline deadline) override;
    bool is_open() const noexcept override { return stream_.is_open() && !session_.failed(); }
    bool is_alive() noexcept override;
    void close(Deadline deadline) noexcept override;
    void abandon() noexcept override;
    void interrupt() noexcept override { stream_.shut_down(); }

    Session& session() noexcept { return session_; }
    bool confirms() const noexcept { return confirms_; }

    template <class T>
    T run(net::Operation<T> operation, Deadline deadline) {
        check_open();
        return driver_.run(std::move(operation), deadline);
    }
    /// Sends what was put into the session's output.
    void send(Deadline deadline) {
        check_open();
        driver_.send(deadline);
    }
    bool try_send() noexcept;
    void take_in() {
        check_open();
        driver_.take_in();
    }

    /// Throws what the session failed with, or that it is closed.
    void check_open() const;

private:
    net::TcpStream stream_;
    Session session_;
    net::BlockingDriver<Session> driver_;
    bool confirms_;
};

}  // namespace kombu::amqp
