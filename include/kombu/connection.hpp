// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/json.hpp>
#include <kombu/retry.hpp>
#include <kombu/url.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu {

class SimpleQueue;
struct SimpleQueueOptions;

/// What a URL does not say, or says otherwise: an option that is set wins over the URL, and over those of the
/// alternates (but for a port that an alternate names itself).
struct ConnectionOptions {
    /// Further brokers to try when one fails: complete URLs, or host names that share everything else with the first.
    std::vector<std::string> alternates{};
    /// In which order: "round-robin" (as listed, beginning with the one that worked last) or "shuffle".
    std::optional<std::string> failover_strategy{};
    std::optional<std::string> userid{};
    /// Text, or a function that is asked at each connect.
    std::optional<Password> password{};
    std::optional<std::string> virtual_host{};
    std::optional<int> port{};
    /// TLS, on Redis: true, or a JSON object by Kombu's names: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (files in
    /// PEM), `ssl_check_hostname` (true), `ssl_cert_reqs` ("required", or "none" to trust whoever answers). They may
    /// stand in the URL's query too. Not set: as the URL's scheme says.
    Json ssl{};
    /// How to log in to AMQP: "PLAIN".
    std::optional<std::string> login_method{};
    /// How often, at least, each side shows the other that it lives: whole seconds on AMQP, rounded up; the broker may
    /// want it more often. They are sent and awaited whether the connection is in use or idle in a pool; a peer that
    /// misses two is given up, also by a call that waits for it. Not set, or 0: none, as in Kombu.
    OptionalTimeout heartbeat{};
    /// For one attempt at one endpoint, from name resolution to the end of the log-in. 5 s when not set.
    OptionalTimeout connect_timeout{};
    /// A JSON object. Known to every transport: `confirm_publish` (bool, true), `operation_timeout` (seconds, 30).
    Json transport_options = Json::object();
};

/// Whether as_uri() shows the password.
enum class ShowPassword : bool { no, yes };

/// A broker and how to reach it, and the one session to it.
///
/// Constructing one connects nowhere; connect() does, or the first operation. Copying gives another, unconnected
/// Connection to the same broker (as clone() does); moving takes the session along. Two are equal when their sessions
/// would be: defaults are filled in, aliases and the order of options do not matter, and everything that changes the
/// session counts. That identity never changes; pools are keyed by it.
///
/// Threads: one at a time, together with everything made from it; use a pool for more. as_uri(), == and the look-up of
/// pools are safe from any thread. Destruction does not wait for the broker.
class KOMBU_EXPORT Connection {
public:
    /// Throws ConfigurationError for a malformed URL, an unknown transport, an unknown option or one out of range; the
    /// text names the field and shows no secret.
    explicit Connection(std::string_view url = "amqp://", const ConnectionOptions& options = {});
    Connection(const Connection& other);
    Connection& operator=(const Connection& other);
    Connection(Connection&& other) noexcept;
    Connection& operator=(Connection&& other) noexcept;
    ~Connection();

    /// Connects unless connected. Visits each endpoint once, each with connect_timeout. Throws ConnectionError that
    /// tells what happened at each of them.
    Connection& connect(OptionalTimeout timeout = {});
    /// connect(), by kombu/asio.hpp.
    template <class Token>
    auto async_connect(OptionalTimeout timeout, Token&& token);
    template <class Token>
    auto async_connect(Token&& token);

    /// Called after each failed round with the error and the time until the next.
    using OnError = std::function<void(const std::exception&, std::chrono::milliseconds)>;
    /// As connect(), again and again by the policy. Gives up at once when trying again cannot help (a wrong password).
    Connection& ensure_connection(const RetryPolicy& policy = {}, const OnError& on_error = {});

    /// Whether there is a session that has not failed so far. Sends nothing.
    bool connected() const noexcept;
    /// Ends the session politely, within one second; the next operation connects again. Safe to call at any time.
    void release() noexcept;
    void close() noexcept { release(); }

    /// The channel that producers and queues of this connection share; opened, and connected, when need be.
    Channel default_channel();
    /// A new channel. Throws ChannelLimitExceeded when the broker allows no more.
    Channel channel();

    /// A queue to put to and get from. The name stands for a durable queue bound to a direct exchange, all of that
    /// name.
    SimpleQueue simple_queue(std::string_view name);
    SimpleQueue simple_queue(std::string_view name, const SimpleQueueOptions& options);
    SimpleQueue simple_queue(const Queue& queue);
    SimpleQueue simple_queue(const Queue& queue, const SimpleQueueOptions& options);
    /// simple_queue(), by kombu/asio.hpp. `queue`: a name or a Queue.
    template <class QueueOrName, class Token>
    auto async_simple_queue(const QueueOrName& queue, const SimpleQueueOptions& options, Token&& token);
    template <class QueueOrName, class Token>
    auto async_simple_queue(const QueueOrName& queue, Token&& token);

    /// Another, unconnected Connection to the same broker.
    Connection clone() const { return *this; }

    /// The normalised URL with `**` for the password, alternates after a `;`, options that are not the default as a
    /// query.
    std::string as_uri(ShowPassword show = ShowPassword::no) const;

    /// The normalised name of the transport: "amqp", "memory".
    const std::string& transport() const noexcept;
    const std::string& hostname() const noexcept;
    /// 0 when the transport has none.
    std::uint16_t port() const noexcept;
    const std::string& userid() const noexcept;
    const std::string& virtual_host() const noexcept;
    std::chrono::nanoseconds connect_timeout() const noexcept;
    std::chrono::nanoseconds heartbeat() const noexcept;
    const Json& transport_options() const noexcept;

    /// For caches: connections with the same number are equal. Equal ones may have different numbers, unless one was
    /// copied from the other. 0 when it was moved from.
    std::uint64_t fingerprint() const noexcept { return state_ ? fingerprint_ : 0; }
    /// Hash of the identity.
    std::size_t hash() const noexcept;
    friend KOMBU_EXPORT bool operator==(const Connection& a, const Connection& b) noexcept;
    /// Prints as_uri().
    friend KOMBU_EXPORT std::ostream& operator<<(std::ostream& out, const Connection& connection);

private:
    friend struct async::Operations;
    friend struct detail::ClientAccess;

    std::shared_ptr<detail::ConnectionState> state_;
    std::uint64_t fingerprint_ = 0;
};

}  // namespace kombu

template <>
struct std::hash<kombu::Connection> {
    std::size_t operator()(const kombu::Connection& connection) const noexcept { return connection.hash(); }
};
