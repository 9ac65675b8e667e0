// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/periodic_thread.hpp>
#include <kombu/transport.hpp>

#include "amqp/operations.hpp"
#include "amqp/session.hpp"
#include "net/session_driver.hpp"
#include "net/stream.hpp"

#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace kombu::amqp {

/// An AMQP session over TCP or TLS. The calling operation drives it; with heartbeats, the heartbeat thread drives it
/// while no operation runs.
class AmqpConnection final : public TransportConnection,
                             public kombu::detail::PeriodicTask,
                             public std::enable_shared_from_this<AmqpConnection> {
public:
    using Driver = net::SessionDriver<Session>;

    /// Connects and logs in. The arguments must outlive the operation.
    static async::Operation<std::shared_ptr<TransportConnection>> open(const Endpoint& endpoint,
                                                                       const ConnectionParameters& parameters,
                                                                       Deadline deadline);

    AmqpConnection(const Endpoint& endpoint, const ConnectionParameters& parameters);
    ~AmqpConnection() override;

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) override;
    async::Operation<> await_events(Deadline until, Deadline wake_at, bool wakeable) override;
    async::Operation<BrokerInfo> broker_info(Deadline deadline) override;
    bool is_open() const noexcept override { return stream_.is_open() && !session_.failed(); }
    std::exception_ptr failure() const override { return session_.failure(); }
    bool is_alive() noexcept override;
    async::Operation<> close(Deadline deadline) override;
    void abandon() noexcept override;
    void interrupt() noexcept override { stream_.shutdown(); }

    Session& session() noexcept { return session_; }
    bool confirms() const noexcept { return confirms_; }

    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        Driver::RequestScope request = begin_request();
        if (session_.blocked()) return run_when_unblocked(std::move(operation), deadline, std::move(request));
        return driver_.run(std::move(operation), deadline, std::move(request));
    }
    template <class Work>
    auto run(Work&& work, Deadline deadline, Driver::RequestScope request) {
        return driver_.run(std::forward<Work>(work), deadline, std::move(request));
    }
    /// Throws when the connection is not open.
    Driver::RequestScope begin_request() {
        check_open();
        return Driver::RequestScope{driver_};
    }
    /// Waits until the broker reads again. Throws Timeout otherwise; the connection stays.
    async::Operation<> await_unblocked(Deadline deadline);
    Driver& driver() noexcept { return driver_; }
    net::SessionLock& session_lock() noexcept { return driver_.session_lock(); }
    bool try_send() noexcept;
    /// Before a request that awaits no reply: processes what has arrived, and throws when the broker has closed the
    /// connection.
    void poll_for_close();

    /// Throws the error that the session failed with, or ConnectionError when the connection is closed.
    void check_open() const;

    // called by the heartbeat thread
    bool try_retain() noexcept override;
    void run() noexcept override;

private:
    /// A blocked broker does not read: a request whose reply does not come would cost the connection. So nothing is
    /// sent while it is blocked, and the connection stays when the deadline passes.
    template <class T>
    async::Operation<T> run_when_unblocked(async::Operation<T> operation, Deadline deadline,
                                           Driver::RequestScope request) {
        co_await driver_.run(amqp::await_unblocked(session_, deadline), deadline, std::move(request));
        if constexpr (std::is_void_v<T>)
            co_await driver_.run(std::move(operation), deadline);
        else
            co_return co_await driver_.run(std::move(operation), deadline);
    }

    net::Stream stream_;
    Session session_;
    Driver driver_;
    bool confirms_;
    std::shared_ptr<AmqpConnection> self_;  // holds the connection while the heartbeat thread uses it
};

}  // namespace kombu::amqp
