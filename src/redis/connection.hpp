// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/transport.hpp>

#include "net/session_driver.hpp"
#include "net/stream.hpp"
#include "redis/context.hpp"
#include "redis/subscriber.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace kombu::redis {

/// A connection to a Redis server, driven by its user: one socket for commands, and a second one (Subscriber) once it
/// waits for messages or listens to a fanout exchange. When either fails, the connection has failed.
class RedisConnection final : public TransportConnection, public std::enable_shared_from_this<RedisConnection> {
public:
    using Driver = net::SessionDriver<Session>;

    /// Connects and logs in. The arguments must outlive the operation.
    static async::Operation<std::shared_ptr<TransportConnection>> open(const Endpoint& endpoint,
                                                                       const ConnectionParameters& parameters,
                                                                       Deadline deadline, bool must_be_master);

    RedisConnection(const Endpoint& endpoint, const ConnectionParameters& parameters);
    ~RedisConnection() override { RedisConnection::abandon(); }

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) override;
    bool is_open() const noexcept override;
    std::exception_ptr failure() const override;
    bool is_alive() noexcept override;
    async::Operation<> close(Deadline deadline) override;
    void abandon() noexcept override;
    void interrupt() noexcept override;

    SessionContext& context() noexcept { return context_; }

    /// Runs an operation on the session, after housekeeping if that is due.
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        check_open();
        const Clock::duration idle = driver_.idle_time();
        poll_if_idle(idle);  // notices that the peer has closed
        context_.session.begin_operation();
        Driver::RequestScope exchange{driver_};
        if (!housekeeping_due(idle)) return driver_.run(std::move(operation), deadline, std::move(exchange));
        return run_with_housekeeping(std::move(operation), deadline, std::move(exchange));
    }
    /// Runs an operation on the second socket, which must be open.
    template <class T>
    async::Operation<T> run_on_subscriber(async::Operation<T> operation, Deadline deadline) {
        check_open();
        subscriber_->session.begin_operation();
        return subscriber_->driver.run(std::move(operation), deadline);
    }

    /// The second socket; null if it is not open.
    Subscriber* subscriber() noexcept { return subscriber_.get(); }
    /// Opens the second socket, unless it is open.
    async::Operation<> open_subscriber(Deadline deadline);
    /// Whether the server reports changed keys to the second socket.
    bool receives_notices() const noexcept {
        return subscriber_ && subscriber_->receives_notices && !context_.notices_refused;
    }
    /// Opens the second socket, and lets the server report changed keys to it. Returns whether it does. If the socket
    /// cannot be opened now, this is tried again after some time. `until` is the end of the wait for a message.
    async::Operation<bool> enable_notices(Deadline until);
    /// Reads the available input of the second socket, if it is open.
    void poll_subscriber();
    /// Waits without a request. Returns at `until`, or earlier when bytes have arrived.
    async::Operation<> wait_for_input(Deadline until);

    /// Sends pending output without waiting. Returns false if some of it remains, or if the connection failed.
    bool try_send() noexcept;
    /// Throws the error that the connection failed with, or ConnectionError if it is closed.
    void check_open() const;

private:
    /// Reads the available input, unless the connection was in use a moment ago.
    void poll_if_idle(Clock::duration idle);
    bool housekeeping_due(Clock::duration idle) const noexcept {
        const auto interval = context_.options.health_check_interval;
        return (interval.count() != 0 && idle >= interval) ||
               (!next_password_check_.is_never() && next_password_check_.expired());
    }
    async::Operation<> housekeeping(Deadline deadline);
    template <class T>
    async::Operation<T> run_with_housekeeping(async::Operation<T> operation, Deadline deadline,
                                              Driver::RequestScope exchange) {
        co_await housekeeping(deadline);
        co_return co_await driver_.run(std::move(operation), deadline, std::move(exchange));
    }
    void set_subscriber(std::unique_ptr<Subscriber> subscriber);
    void close_sockets() noexcept;

    const net::StreamTarget target_;
    net::Stream stream_;
    SessionContext context_;
    Driver driver_;
    std::string userid_;
    Password password_;
    std::string current_password_{};  // only of a password that may change
    Deadline next_password_check_ = Deadline::never();

    kombu::detail::ForkSafeMutex subscriber_mutex_;  // interrupt() uses subscriber_ on other threads
    std::unique_ptr<Subscriber> subscriber_{};
    std::atomic<bool> interrupted_{false};
    Deadline next_subscriber_attempt_ = Deadline::at({}), next_subscriber_check_ = Deadline::at({});
    std::chrono::seconds subscriber_retry_;
    Clock::time_point last_subscriber_poll_{};
};

/// How to connect to a server.
net::StreamTarget stream_target(const std::string& host, std::uint16_t port, const Options& options,
                                const std::optional<SslOptions>& ssl);

}  // namespace kombu::redis
