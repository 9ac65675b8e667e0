// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include "net/session_driver.hpp"
#include "net/stream.hpp"
#include "redis/context.hpp"

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace kombu::redis {

/// A connection to a Redis server, driven by its user. One socket serves everything: commands, waiting for messages,
/// subscriptions.
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
    bool is_open() const noexcept override { return stream_.is_open() && !context_.session.failed(); }
    std::exception_ptr failure() const override { return context_.session.failure(); }
    bool is_alive() noexcept override;
    async::Operation<> close(Deadline deadline) override;
    void abandon() noexcept override;
    void interrupt() noexcept override { stream_.shutdown(); }

    SessionContext& context() noexcept { return context_; }

    /// Runs an operation on the session, after housekeeping if that is due.
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        check_open();
        const Clock::duration idle = driver_.idle_time();
        poll_if_idle(idle);  // reads invalidations, and notices that the peer has closed
        context_.session.begin_operation();
        Driver::RequestScope exchange{driver_};
        if (!housekeeping_due(idle)) return driver_.run(std::move(operation), deadline, std::move(exchange));
        return run_with_housekeeping(std::move(operation), deadline, std::move(exchange));
    }
    /// Sends pending output without waiting. Returns false if some of it remains, or if the connection failed.
    bool try_send() noexcept;
    /// Throws the error that the session failed with, or ConnectionError if the connection is closed.
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

    net::Stream stream_;
    SessionContext context_;
    Driver driver_;
    std::string userid_;
    Password password_;
    std::string current_password_{};  // only of a password that may change
    Deadline next_password_check_ = Deadline::never();
};

/// How to connect to a server.
net::StreamTarget stream_target(const std::string& host, std::uint16_t port, const Options& options,
                                const std::optional<SslOptions>& ssl);

}  // namespace kombu::redis
