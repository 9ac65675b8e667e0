// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/operation.hpp>

#include "net/descriptor.hpp"
#include "net/tls.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::net {

/// TCP keep-alive: the idle time before the first probe, the interval between probes, and how many probes may stay
/// unanswered.
struct KeepAlive {
    bool on = true;
    int idle_seconds = 60;
    int interval_seconds = 10;
    int count = 6;
};

/// The address and the options of a stream.
struct StreamTarget {
    /// A host and a port; or with port 0 the path of a unix socket.
    std::string host{};
    std::uint16_t port = 0;
    /// TLS is used when set.
    std::optional<SslOptions> tls{};
    KeepAlive keep_alive{};
};

/// A connection over TCP, TLS or a unix socket: close-on-exec, without Nagle's algorithm, with keep-alive, without
/// SIGPIPE. No call blocks. Waiting is separate from reading and writing, so that every wait has a deadline.
///
/// One thread at a time, except shutdown(). Throws ConnectionError for errors of the peer or the network, Timeout for a
/// passed deadline. In a forked child the stream is closed without notifying the peer, and every use throws
/// ConnectionError.
class Stream {
public:
    /// Not connected yet.
    explicit Stream(StreamTarget target);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { close(); }

    /// Tries each address of the host for its share of the time, then performs the TLS handshake if TLS is used.
    async::Operation<> connect(Deadline deadline);
    /// Connects to the address that another stream is connected to, so that both reach the same server.
    async::Operation<> connect_beside(const Stream& other, Deadline deadline);

    bool is_open() const noexcept { return handle_.descriptor >= 0 && !descriptor_.is_inherited(); }
    /// host:port or the socket's path, for error texts.
    const std::string& peer() const noexcept { return peer_; }

    /// Returns the number of bytes read, 0 when the peer has closed, nothing when no data is available now.
    std::optional<std::size_t> read_some(char* data, std::size_t size);
    /// Returns the number of bytes written, nothing when none can be written now.
    std::optional<std::size_t> write_some(std::string_view data);
    static constexpr std::size_t max_pieces = 4;
    /// The same for so many pieces, with one system call; not with TLS.
    std::optional<std::size_t> write_some(std::span<const std::string_view> pieces);
    bool uses_tls() const noexcept { return tls_ != nullptr; }
    /// Empty without TLS.
    std::string tls_version() const { return tls_ ? tls_->version() : std::string{}; }
    /// Whether the TLS layer holds received data, which waiting for the descriptor does not report.
    bool has_buffered() const noexcept { return tls_ && tls_->has_buffered(); }

    /// A wait until the stream is readable. A TLS stream may have to become writable before it can be read.
    async::Wait until_readable(Deadline deadline) { return make_wait(tls_ && tls_->wants_write(), deadline); }
    /// The same, with a buffer into which the driver may read (not with TLS).
    async::Wait until_readable(Deadline deadline, char* data, std::size_t size) {
        async::Wait wait = until_readable(deadline);
        if (!tls_) {
            wait.into = data;
            wait.size = size;
        }
        return wait;
    }
    async::Wait until_readable_or_writable(Deadline deadline) { return make_wait(true, deadline); }

    /// Thread-safe. Ends both directions and wakes a waiting operation. The descriptor stays open.
    void shutdown() noexcept;
    void close() noexcept;

private:
    /// Returns the errno value, or 0.
    async::Operation<int> try_connect(const struct Address& address, Deadline deadline);
    async::Operation<> connect_tcp(std::vector<struct Address> addresses, Deadline deadline);
    async::Operation<> connect_unix(Deadline deadline);
    async::Operation<> finish_connecting(Deadline deadline);
    async::Operation<> handshake(Deadline deadline);
    async::Wait make_wait(bool write, Deadline deadline);
    template <class Step>
    auto with_tls(Step step);
    [[noreturn]] void fail(const char* what, int error) const;

    StreamTarget target_;
    std::string peer_;
    kombu::detail::ForkSafeMutex close_mutex_;  // keeps shutdown() from using a descriptor number that has been reused
    async::WaitHandle handle_;
    Descriptor descriptor_;
    std::unique_ptr<Tls> tls_;
};

}  // namespace kombu::net
