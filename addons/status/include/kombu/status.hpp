// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

/// A page that shows the pools of a service while it runs. CMake: `find_package(kombu COMPONENTS status)`,
/// `kombu::status`.
namespace kombu::status {

/// The options of a StatusServer.
struct StatusOptions {
    /// What the page is called: the name of the service.
    std::string title = "kombu";
    /// Listen on an address that other machines can reach. Then a token is required.
    bool allow_remote = false;
    /// What a request must have, as `Authorization: Bearer TOKEN` or `?token=TOKEN`; at least 16 characters. Empty:
    /// nothing.
    std::string token{};
};

/// Serves, read-only, from a thread of its own:
///
/// * `/`: a page with the pools and brokers, which updates itself
/// * `/pools.json`: what it shows: `Json(pools::stats())`, `Json(broker_stats())`
/// * `/metrics`: for Prometheus, when kombu::metrics was built too
/// * `/healthz`: 503 while a broker of a pool cannot be reached (PoolStats::is_down), otherwise 200; for a check of
///   readiness, since a service is not to be restarted because its broker is down
///
///     kombu::status::StatusServer status{"127.0.0.1:8080"};
///
/// Four requests are served at a time and as many wait; each has five seconds and 16 KiB. On a loopback address only
/// requests for a loopback host are served, so that no web page of another origin can read it.
///
/// \par Fork
/// A child has no server, and closes the sockets that it inherits.
class KOMBU_EXPORT StatusServer {
public:
    /// Listens.
    /// \param address  "HOST:PORT", "[HOST]:PORT", or a port alone, which is one of 127.0.0.1; port 0: any
    /// \param options  everything has a default
    /// \throws ConfigurationError  for an invalid address, one that others can reach without `allow_remote`, or with
    ///   it without a token
    /// \throws std::system_error  when the address is in use
    explicit StatusServer(std::string_view address, StatusOptions options = {});
    StatusServer(StatusServer&&) noexcept;
    StatusServer& operator=(StatusServer&&) noexcept;
    /// Ends the requests in progress and closes the socket.
    ~StatusServer();

    /// The port that it listens on, also when the address asked for any.
    std::uint16_t port() const noexcept;
    /// Of the page, without the token.
    std::string url() const;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kombu::status
