#pragma once

#include <kombu/transport.hpp>

#include "net/session_driver.hpp"
#include "net/stream.hpp"
#include "redis/context.hpp"

#include <memory>
#include <string>
#include <utility>

namespace kombu::redis {

/// A session with a Redis server, driven by whoever uses it. One socket does for everything: commands, waiting for
/// messages, subscriptions.
class RedisConnection final : public TransportConnection, public std::enable_shared_from_this<RedisConnection> {
public:
    using Driver = net::SessionDriver<Session>;

    /// Connects and logs in. The arguments live until it is done.
    static async::Operation<std::shared_ptr<TransportConnection>> open(const Endpoint& endpoint,
                                                                       const ConnectionParameters& parameters,
                                                                       Deadline deadline, bool must_be_master);

    RedisConnection(const Endpoint& endpoint, const ConnectionParameters& parameters);
    ~RedisConnection() override { RedisConnection::abandon(); }

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) override;
    bool is_open() const noexcept override { return stream_.is_open() && !link_.session.failed(); }
    bool is_alive() noexcept override;
    async::Operation<> close(Deadline deadline) override;
    void abandon() noexcept override;
    void interrupt() noexcept override { stream_.shut_down(); }

    Link& link() noexcept { return link_; }
    const net::Stream& stream() const noexcept { return stream_; }

    /// Runs an operation on the session, after what has to be done from time to time.
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        check_open();
        const Clock::duration idle = driver_.idle_time();
        take_in(idle);  // bindings that were changed meanwhile, a peer that has closed
        link_.session.begin();
        Driver::Exchange exchange{driver_};
        if (!is_care_due(idle)) return driver_.run(std::move(operation), deadline, std::move(exchange));
        return run_with_care(std::move(operation), deadline, std::move(exchange));
    }
    /// Sends what is to be sent without waiting. False when that was not all.
    bool try_send() noexcept;
    /// Throws what the session failed with, or that it is closed.
    void check_open() const;

private:
    /// Takes in what has arrived, unless that was done just now.
    void take_in(Clock::duration idle);
    bool is_care_due(Clock::duration idle) const noexcept {
        const auto interval = link_.options.health_check_interval;
        return (interval.count() != 0 && idle >= interval) || (!next_password_.is_never() && next_password_.expired());
    }
    async::Operation<> take_care(Deadline deadline);
    template <class T>
    async::Operation<T> run_with_care(async::Operation<T> operation, Deadline deadline, Driver::Exchange exchange) {
        co_await take_care(deadline);
        co_return co_await driver_.run(std::move(operation), deadline, std::move(exchange));
    }

    net::Stream stream_;
    Link link_;
    Driver driver_;
    std::string userid_;
    Password password_;
    std::string known_password_{};  // only of one that may change
    Deadline next_password_ = Deadline::never();
};

/// How to reach a server.
net::StreamTarget target_of(const std::string& host, std::uint16_t port, const Options& options,
                            const std::optional<SslOptions>& ssl);

}  // namespace kombu::redis
