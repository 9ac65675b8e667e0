// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/ssl.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kombu::net {

/// A TLS client on a descriptor. Never blocks and raises no SIGPIPE. The destructor sends nothing, since a forked child
/// inherits a session that is still the parent's.
class Tls {
public:
    /// `host` is the name that the certificate must have; `peer`, the address whose sessions may be resumed, must
    /// outlive this object. Throws ConfigurationError when a file cannot be used, or there is no host name to check.
    Tls(const SslOptions& options, const std::string& host, const std::string& peer, int descriptor);
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;
    ~Tls();

    /// What a step must wait for.
    enum class Blocked : std::uint8_t { no, on_read, on_write };

    /// Performs a step of the handshake, which is complete when it returns Blocked::no. Throws ConnectionError; one
    /// that is not retryable when a certificate is refused, by either side, or the peer does not speak TLS.
    Blocked handshake();
    /// As for a socket: nothing when the call would block; read_some returns 0 when the peer has closed. Throw
    /// ConnectionError.
    std::optional<std::size_t> read_some(char* data, std::size_t size);
    std::optional<std::size_t> write_some(std::string_view data);
    /// Of the protocol, such as "TLSv1.3".
    std::string version() const;
    /// Whether received data is buffered, which waiting for the descriptor does not report.
    bool has_buffered() const noexcept;
    /// Whether the last step, a read or a write, waits for the descriptor to become writable.
    bool wants_write() const noexcept { return blocked_ == Blocked::on_write; }
    /// Sends close_notify, if that is possible without waiting.
    void send_close_notify() noexcept;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
    Blocked blocked_ = Blocked::no;

    /// Evaluates a failed call. Returns true when the peer has closed, false (and sets blocked_) when the call would
    /// block; throws ConnectionError otherwise.
    bool handle_failed_call(int result, const char* what);
};

}  // namespace kombu::net
