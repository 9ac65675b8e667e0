// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/detail/periodic_thread.hpp>
#include <kombu/transport.hpp>

#include "net/session_driver.hpp"
#include "net/stream.hpp"
#include "redis/context.hpp"
#include "redis/held_messages.hpp"
#include "redis/operations.hpp"
#include "redis/subscriber.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu::redis {

class RedisChannel;
class WaitedQueue;

/// A connection to a Redis server, driven by its user: one socket for commands, and a second one (Subscriber) once it
/// waits for messages or listens to a fanout exchange. When either fails, the connection has failed.
class RedisConnection final : public TransportConnection,
                              public kombu::detail::PeriodicTask,
                              public std::enable_shared_from_this<RedisConnection> {
public:
    using Driver = net::SessionDriver<Session>;

    /// Connects and logs in. The arguments must outlive the operation.
    static async::Operation<std::shared_ptr<TransportConnection>> open(const Endpoint& endpoint,
                                                                       const ConnectionParameters& parameters,
                                                                       Deadline deadline, bool must_be_master);

    RedisConnection(const Endpoint& endpoint, const ConnectionParameters& parameters);
    ~RedisConnection() override;

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline) override;
    async::Operation<> await_events(Deadline until, Deadline wake_at, bool wakeable) override;
    async::Operation<std::optional<std::string>> await_value(std::string key, std::optional<std::string> known,
                                                             Deadline until) override;
    async::Operation<> erase_value(std::string key, Deadline deadline) override;
    async::Operation<BrokerInfo> broker_info(Deadline deadline) override;
    bool is_open() const noexcept override;
    std::exception_ptr failure() const override;
    bool is_alive() noexcept override;
    async::Operation<> close(Deadline deadline) override;
    void abandon() noexcept override;
    void interrupt() noexcept override;

    SessionContext& context() noexcept { return context_; }
    net::SessionLock& session_lock() noexcept { return driver_.session_lock(); }
    HeldMessages& held_messages() noexcept { return held_messages_; }
    /// Lets another thread renew the held messages while a handler runs.
    void start_renewing();
    /// Tells the consumers of a queue that a message will be due.
    void on_delayed(const std::string& queue, std::chrono::milliseconds delay);
    /// Sends pending output.
    async::Operation<> send_output(Deadline deadline);

    // called by that thread
    bool try_retain() noexcept override;
    void run() noexcept override;

    /// Runs an operation on the session, after the fetch in progress and housekeeping if that is due. `on_refusal` is
    /// called for a ChannelError of the operation itself. Call it when the operation is to run: it begins the request.
    template <class T, class OnRefusal = Driver::IgnoreRefusal>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline, OnRefusal on_refusal = {}) {
        if (std::optional<Driver::RequestScope> request = try_begin_request())
            return run(std::move(operation), deadline, std::move(*request), on_refusal);
        return run_after_others(std::move(operation), deadline, on_refusal);
    }
    /// The same within a request that has begun.
    template <class Work, class OnRefusal>
    auto run(Work&& work, Deadline deadline, Driver::RequestScope request, OnRefusal on_refusal) {
        return driver_.run(std::forward<Work>(work), deadline, std::move(request), on_refusal);
    }
    /// Nothing if others must precede the request: a fetch in progress, or housekeeping.
    std::optional<Driver::RequestScope> try_begin_request() {
        check_open();
        if (fetching_ && !is_in_fetch_) return std::nullopt;
        const net::SessionLock::Guard guard{session_lock()};
        const Clock::duration idle = driver_.idle_time();
        poll_if_idle(idle);  // notices that the peer has closed
        context_.session.begin_operation();
        if (housekeeping_due(idle)) return std::nullopt;
        return std::make_optional<Driver::RequestScope>(driver_);
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
    /// When to check that the second socket works; and the check, if it is due.
    Deadline next_subscriber_check() const noexcept;
    async::Operation<> check_subscriber();
    /// Waits without a request. Returns at `until`, or earlier when bytes have arrived; with `wakeable` also when the
    /// operation's waker is called.
    async::Operation<> wait_for_input(Deadline until, bool wakeable);

    /// Sends pending output without waiting. Returns false if some of it remains, or if the connection failed.
    bool try_send() noexcept;
    /// Throws the error that the connection failed with, or ConnectionError if it is closed.
    void check_open() const;

private:
    /// A request for messages of a consumer. It goes on after the wait that has begun it was cancelled: the messages in
    /// its reply must not be lost.
    struct Fetch {
        std::shared_ptr<WaitedQueue> queue;
        std::shared_ptr<RedisChannel> channel;
        std::size_t consumer;  // its index
        async::Operation<std::vector<ReceivedMessage>> operation;
    };
    /// Ends the fetch in progress. Returns whether messages have arrived.
    async::Operation<bool> finish_fetch(Deadline deadline = Deadline::never());
    template <class T, class OnRefusal>
    async::Operation<T> run_after_others(async::Operation<T> operation, Deadline deadline, OnRefusal on_refusal) {
        if (fetching_ && !is_in_fetch_) {
            co_await finish_fetch(deadline);
            co_return co_await run(std::move(operation), deadline, on_refusal);
        }
        check_open();
        Driver::RequestScope request{driver_};
        context_.session.begin_operation();
        co_await housekeeping(deadline);
        co_return co_await run(std::move(operation), deadline, std::move(request), on_refusal);
    }
    /// Reads the available input, unless the connection was in use a moment ago.
    void poll_if_idle(Clock::duration idle);
    bool housekeeping_due(Clock::duration idle) const noexcept {
        const auto interval = context_.options.health_check_interval;
        return (interval.count() != 0 && idle >= interval) ||
               (!next_password_check_.is_never() && next_password_check_.expired());
    }
    async::Operation<> housekeeping(Deadline deadline);
    void set_subscriber(std::unique_ptr<Subscriber> subscriber);
    void close_sockets() noexcept;
    void renew_if_due();
    async::Operation<> move_delayed(WaitedQueue& queue);
    /// Whether a queue of a consumer, or the connection, needs a request now; and what makes them, as a Fetch.
    bool has_work(const WaitedQueue& queue) const;
    async::Operation<std::vector<ReceivedMessage>> serve(WaitedQueue& queue, std::size_t count, Deadline until);

    const net::StreamTarget target_;
    net::Stream stream_;
    SessionContext context_;
    Driver driver_;
    std::string userid_;
    Password password_;
    std::string current_password_{};  // only of a password that may change
    Deadline next_password_check_ = Deadline::never();

    std::vector<std::weak_ptr<RedisChannel>> channels_{};
    HeldMessages held_messages_;
    std::optional<Fetch> fetching_{};
    bool is_in_fetch_ = false;  // what run() is called for then is a part of it
    std::size_t turn_ = 0;      // of the queues of its consumers
    bool is_renewing_ = false;
    std::shared_ptr<RedisConnection> self_{};  // holds the connection while another thread renews

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
