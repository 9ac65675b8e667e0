// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/broker_info.hpp>
#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/failover.hpp>
#include <kombu/json.hpp>
#include <kombu/retry.hpp>
#include <kombu/url.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kombu {

class SimpleQueue;
struct SimpleQueueOptions;
namespace pools {
class ChannelPool;
class ConnectionPool;
}  // namespace pools

/// Options of a connection. An option that is set overrides the URL and the URLs of the alternates, except a port
/// that an alternate names itself.
struct ConnectionOptions {
    /// Other brokers to try when one fails: complete URLs, or host names that share everything else with the first
    /// URL.
    std::vector<std::string> alternates{};
    /// The order in which the brokers are tried: "round-robin", "shuffle", "least-connections", or a function. Not set:
    /// "round-robin".
    std::optional<FailoverStrategy> failover_strategy{};
    /// The user.
    std::optional<std::string> userid{};
    /// Text, or a function that is called at each connect.
    std::optional<Password> password{};
    /// The virtual host; on Redis the number of the database.
    std::optional<std::string> virtual_host{};
    /// 1 to 65535. Not set: that of the URL, else the default of the transport.
    std::optional<int> port{};
    /// TLS, on RabbitMQ and Redis: true, or a JSON object by Kombu's names:
    /// `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (PEM files), `ssl_check_hostname` (true), `ssl_cert_reqs`
    /// ("required", or "none" to accept any certificate). The query of the URL may have them too. Not set: as the
    /// scheme of the URL says.
    Json ssl{};
    /// The mechanism of the AMQP login: "PLAIN", "AMQPLAIN", or "EXTERNAL" by the client certificate.
    std::optional<std::string> login_method{};
    /// The interval of AMQP heartbeats, in whole seconds, rounded up; the broker may ask for a shorter one.
    /// Heartbeats are sent and expected while the connection is in use and while it is idle in a pool. A peer that is
    /// silent for two intervals has failed, which also ends a call that waits for it. Not set, or 0: none, as in
    /// Kombu. Redis has no heartbeats and refuses the option.
    OptionalTimeout heartbeat{};
    /// The time for one attempt at one endpoint, from name resolution to the end of the login. Not set: 5 s.
    OptionalTimeout connect_timeout{};
    /// Options of the transport, a JSON object. Every transport has these (with defaults):
    /// * `confirm_publish` (true): whether publishing waits for publisher confirms
    /// * `operation_timeout` (30): seconds, for operations without a timeout of their own
    /// * `max_retries` (0), `interval_start` (2), `interval_step` (2), `interval_max` (30), `connect_retries_timeout`
    ///   (0: none): how often connecting is repeated, as in RetryPolicy; times in seconds
    ///
    /// docs/redis.md has the options of Redis.
    Json transport_options = Json::object();
};

/// Whether Connection::as_uri shows passwords.
enum class ShowPassword : bool { no, yes };

/// A broker, how to reach it, and one session with it.
///
/// The constructor does not connect; connect() or the first operation does. A copy is another, unconnected Connection
/// to the same broker; moving takes the session along.
///
/// Two connections are equal when their sessions would be: defaults are filled in, aliases and the order of options
/// do not matter, and everything that changes the session counts. This identity never changes; pools use it as their
/// key.
///
/// \par Thread safety
/// One thread at a time may use a connection and everything made from it; a second operation at the same time throws
/// LeaseError. Use a pool for several threads. as_uri(), == and the look-up of a pool may be called from any thread.
/// \par Lifetime
/// Destruction does not wait for the broker.
/// \par Fork
/// In a child the connection is unconnected and connects anew. Channels and messages of the parent throw
/// ConnectionError there.
/// \par Kombu
/// `kombu.Connection`
class KOMBU_EXPORT Connection {
public:
    /// Describes a broker; does not connect.
    /// \param url  of the broker, or several separated by `;`:
    ///   `transport://[userid[:password]@][host][:port][/virtual_host][?option=value&...]`. Transports: `amqp`,
    ///   `memory`, `redis`, `rediss`, `redis+socket`, `sentinel`, registered ones, and Kombu's aliases `pyamqp` and
    ///   `librabbitmq`.
    /// \param options  override the URL
    /// \throws ConfigurationError  for a malformed URL, an unknown transport or option, or an invalid value. The text
    ///   names the field and shows no secret.
    explicit Connection(std::string_view url = "amqp://", const ConnectionOptions& options = {});
    Connection(const Connection& other);
    Connection& operator=(const Connection& other);
    Connection(Connection&& other) noexcept;
    Connection& operator=(Connection&& other) noexcept;
    ~Connection();

    /// Connects unless connected. Tries each endpoint once, each for at most `connect_timeout`, unless the transport
    /// options say more.
    /// \param timeout  bounds the whole call; not set: no bound of its own
    /// \return this connection
    /// \throws ConnectionError  when no endpoint accepts a connection; the text has the error of each
    /// \throws Timeout  when the time has passed
    /// \throws AuthenticationError  when the only endpoint refuses the user or the password
    /// \throws LeaseError  when the connection is busy or was moved from
    Connection& connect(OptionalTimeout timeout = {});
    /// Asynchronous connect(), by kombu/asio.hpp. Completes with (error).
    template <class Token>
    auto async_connect(OptionalTimeout timeout, Token&& token);
    /// \overload
    template <class Token>
    auto async_connect(Token&& token);

    /// Asks the broker what it is, and takes the time of a round trip. Connects when necessary.
    /// \param timeout  bounds the whole call; not set: the connection's `operation_timeout`
    /// \throws ConnectionError  as connect() does, and Timeout when the broker does not answer in time
    /// \throws LeaseError  when the connection is busy or was moved from
    BrokerInfo broker_info(OptionalTimeout timeout = {});
    /// Asynchronous broker_info(), by kombu/asio.hpp. Completes with (error, BrokerInfo).
    template <class Token>
    auto async_broker_info(OptionalTimeout timeout, Token&& token);
    /// \overload
    template <class Token>
    auto async_broker_info(Token&& token);

    /// Called after each failed attempt that is followed by another, with the error and the pause before the next
    /// attempt.
    using OnError = std::function<void(const std::exception&, std::chrono::milliseconds)>;
    /// Connects, and repeats failed attempts. An error that a retry cannot help (a wrong password) ends it at once.
    /// \param policy  how often and when to retry; its timeout bounds the whole call
    /// \param on_error  see OnError
    /// \return this connection
    /// \throws ConnectionError  the error of the last attempt
    /// \par Kombu
    /// `Connection.ensure_connection`
    Connection& ensure_connection(const RetryPolicy& policy = {}, const OnError& on_error = {});

    /// Calls a function, and calls it again when it throws an OperationalError that a retry may help: connects anew
    /// when the connection has failed, pauses, and calls. There are at most `max_retries + 1` calls, whatever the kind
    /// of the errors; a call is not made when connecting failed.
    /// \param function  called with a Channel (the default channel), or with nothing
    /// \param policy  how often and when to retry; its timeout bounds pauses and connecting, not a call that has begun
    /// \param on_error  see OnError
    /// \return what the function returns
    /// \throws OperationalError  the error of the last attempt, or one that a retry cannot help
    /// \throws  what else the function throws
    /// \par Kombu
    /// `Connection.ensure`, `Connection.autoretry`
    template <class Function>
    auto ensure(Function&& function, const RetryPolicy& policy = {}, const OnError& on_error = {}) {
        constexpr bool takes_channel = std::invocable<Function&, Channel&>;
        const auto call = [&]() -> decltype(auto) {
            if constexpr (takes_channel) {
                Channel channel = default_channel();
                return std::invoke(function, channel);
            } else {
                return std::invoke(function);
            }
        };
        using Result = std::decay_t<decltype(call())>;
        if constexpr (std::is_void_v<Result>) {
            attempt_repeatedly(call, policy, on_error);
        } else {
            std::optional<Result> result;
            attempt_repeatedly([&] { result.emplace(call()); }, policy, on_error);
            return Result{std::move(*result)};
        }
    }

    /// Whether there is a session that has not failed so far. Sends nothing, so a broken connection may be unnoticed.
    bool connected() const noexcept;
    /// Closes the session, within one second. The next operation connects again. Safe to call at any time: an
    /// operation in progress is interrupted.
    void release() noexcept;
    /// As release().
    void close() noexcept { release(); }

    /// The channel that the producers and queues of this connection share. Connects and opens it when necessary.
    /// \throws ConnectionError  as connect() does
    Channel default_channel();
    /// Opens a new channel. Connects when necessary.
    /// \throws ChannelLimitExceeded  when the broker allows no more channels on the connection
    /// \throws ConnectionError  as connect() does
    Channel channel();

    /// Declares a queue and returns it for putting and getting messages.
    /// \param name  of a durable queue that is bound to a durable direct exchange of the same name, with the same
    ///   routing key
    /// \throws ConfigurationError  when the name is empty
    /// \throws ChannelError  when the broker refuses the declaration
    /// \throws ConnectionError  as connect() does
    SimpleQueue simple_queue(std::string_view name);
    /// \overload
    SimpleQueue simple_queue(std::string_view name, const SimpleQueueOptions& options);
    /// \overload
    SimpleQueue simple_queue(const Queue& queue);
    /// \overload
    SimpleQueue simple_queue(const Queue& queue, const SimpleQueueOptions& options);
    /// Asynchronous simple_queue(), by kombu/asio.hpp, for a name or a Queue. Completes with (error, SimpleQueue).
    template <class QueueOrName, class Token>
    auto async_simple_queue(const QueueOrName& queue, const SimpleQueueOptions& options, Token&& token);
    /// \overload
    template <class QueueOrName, class Token>
    auto async_simple_queue(const QueueOrName& queue, Token&& token);

    /// Waits for the next message of the connection's consumers, and calls its handler; see Consumer. Connects when
    /// necessary.
    /// \param timeout  the time to wait; zero: do not wait; not set: no bound
    /// \return whether a message was handled
    /// \throws ConsumerCancelled  when the broker has cancelled a consumer
    /// \throws ChannelError  when a consumer's channel is closed; each call throws until it consumes again
    /// \throws ConnectionError  when the connection fails
    /// \throws LeaseError  when it is called by a handler, or the connection is busy or was given back
    /// \throws  what the handler throws; consumers and connection are intact then
    bool drain_events(OptionalTimeout timeout = {});
    /// As drain_events() with this timeout.
    template <class Rep, class Period>
    bool drain_events(std::chrono::duration<Rep, Period> timeout) {
        return drain_events(OptionalTimeout{timeout});
    }

    /// A pool of connections to the same broker; see pools::ConnectionPool in kombu/pools.hpp.
    /// \param limit  0: unlimited
    pools::ConnectionPool pool(std::size_t limit = 10) const;
    /// A pool of channels of this connection; see pools::ChannelPool in kombu/channel_pool.hpp.
    /// \param limit  0: unlimited
    pools::ChannelPool channel_pool(std::size_t limit = 10);

    /// Another, unconnected Connection to the same broker.
    Connection clone() const { return *this; }

    /// The normalised URL: the endpoint in use first, the others after a `;`, options other than the defaults as a
    /// query. Options that hold a secret are left out.
    /// \param show  whether to show passwords instead of `**`; a password that is a function is then called
    std::string as_uri(ShowPassword show = ShowPassword::no) const;

    /// The normalised name of the transport, such as "amqp" or "memory".
    const std::string& transport() const noexcept;
    /// The host name of the endpoint in use, which is the first one until another was connected to; port(), userid()
    /// and virtual_host() are of the same.
    const std::string& hostname() const noexcept;
    /// The port; 0 when the transport has none.
    std::uint16_t port() const noexcept;
    /// The user, without the password.
    const std::string& userid() const noexcept;
    /// The virtual host; on Redis the number of the database.
    const std::string& virtual_host() const noexcept;
    /// The bound of an attempt to connect.
    std::chrono::nanoseconds connect_timeout() const noexcept;
    /// The interval that is asked for; 0: none.
    std::chrono::nanoseconds heartbeat() const noexcept;
    /// All options of the transport, with their defaults filled in.
    const Json& transport_options() const noexcept;

    /// A number for caches: connections with the same one are equal. Equal connections may have different ones,
    /// unless one is a copy of the other. 0 when the connection was moved from.
    std::uint64_t fingerprint() const noexcept { return state_ ? fingerprint_ : 0; }
    /// The hash of the identity.
    std::size_t hash() const noexcept;
    friend KOMBU_EXPORT bool operator==(const Connection& a, const Connection& b) noexcept;
    /// Prints as_uri(), without passwords.
    friend KOMBU_EXPORT std::ostream& operator<<(std::ostream& out, const Connection& connection);

private:
    friend struct async::Operations;
    friend struct detail::ClientAccess;

    /// Connects and makes an attempt, until one does not throw a retryable error.
    void attempt_repeatedly(const std::function<void()>& attempt, const RetryPolicy& policy, const OnError& on_error);

    std::shared_ptr<detail::ConnectionState> state_;
    std::uint64_t fingerprint_ = 0;
};

}  // namespace kombu

template <>
struct std::hash<kombu::Connection> {
    std::size_t operator()(const kombu::Connection& connection) const noexcept { return connection.hash(); }
};
