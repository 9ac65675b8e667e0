#pragma once

#include <kombu/detail/periodic_thread.hpp>
#include <kombu/transport.hpp>

#include "amqp/session.hpp"
#include "net/session_driver.hpp"
#include "net/stream.hpp"

#include <memory>
#include <utility>

namespace kombu::amqp {

/// An AMQP session over TCP, driven by whoever uses it, and by the keeper in between when there are heartbeats.
class AmqpConnection final : public TransportConnection,
                             public kombu::detail::PeriodicTask,
                             public std::enable_shared_from_this<AmqpConnection> {
public:
    using Driver = net::SessionDriver<Session>;

    /// Connects and logs in. The arguments live until it is done.
    static async::Operation<std::shared_ptr<TransportConnection>> open(const Endpoint& endpoint,
                                                                       const ConnectionParameters& parameters,
                                                                       Deadline deadline);

    AmqpConnection(const Endpoint& endpoint, bool confirms);
    ~AmqpConnection() override;

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) override;
    bool is_open() const noexcept override { return stream_.is_open() && !session_.failed(); }
    bool is_alive() noexcept override;
    async::Operation<> close(Deadline deadline) override;
    void abandon() noexcept override;
    void interrupt() noexcept override { stream_.shut_down(); }

    Session& session() noexcept { return session_; }
    bool confirms() const noexcept { return confirms_; }

    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        check_open();
        return driver_.run(std::move(operation), deadline);
    }
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline, Driver::Exchange exchange) {
        return driver_.run(std::move(operation), deadline, std::move(exchange));
    }
    /// Throws when the connection is not open.
    Driver::Exchange begin() {
        check_open();
        return Driver::Exchange{driver_};
    }
    Driver& driver() noexcept { return driver_; }
    net::Turn& turn() noexcept { return driver_.turn(); }
    bool try_send() noexcept;

    /// Throws what the session failed with, or that it is closed.
    void check_open() const;

    // PeriodicTask, for the keeper
    bool try_retain() noexcept override;
    void run() noexcept override;

private:
    net::Stream stream_;
    Session session_;
    Driver driver_;
    bool confirms_;
    std::shared_ptr<AmqpConnection> kept_;  // by the keeper, while it is at work
};

}  // namespace kombu::amqp
