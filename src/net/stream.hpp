#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/operation.hpp>

#include "net/descriptor.hpp"
#include "net/tls.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kombu::net {

/// TCP keep-alive: how long a connection may be silent, how often it is asked then, and how many questions may stay
/// without an answer.
struct KeepAlive {
    bool on = true;
    int idle_seconds = 60;
    int interval_seconds = 10;
    int count = 6;
};

/// Where a stream goes, and how.
struct StreamTarget {
    /// A host and a port; or with port 0 the path of a unix socket.
    std::string host{};
    std::uint16_t port = 0;
    /// Encrypted when set.
    std::optional<SslOptions> tls{};
    KeepAlive keep_alive{};
};

/// A connection over TCP, TLS or a unix socket: never blocking of itself, close-on-exec, without Nagle's delay, with
/// keep-alive, without SIGPIPE. Waiting is separate from reading and writing, so that every wait has a deadline.
///
/// One thread at a time, except shut_down(). Errors of the peer or the network are ConnectionError, a deadline is
/// Timeout. In a forked child the stream is closed, without a word to the peer, and every use throws ConnectionError.
class Stream {
public:
    /// Not connected yet.
    explicit Stream(StreamTarget target);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { close(); }

    /// Tries each address of the host, each for its share of the time, and shakes hands when it is encrypted.
    async::Operation<> connect(Deadline deadline);

    bool is_open() const noexcept { return handle_.descriptor >= 0 && !descriptor_.is_inherited(); }
    /// host:port or the path, for messages.
    const std::string& peer() const noexcept { return peer_; }

    /// Bytes read; 0 when the peer has closed; nothing when there is nothing to read now.
    std::optional<std::size_t> read_some(char* data, std::size_t size);
    /// Bytes written; nothing when none can be written now.
    std::optional<std::size_t> write_some(std::string_view data);
    /// Whether there is more to read that waiting would not tell of.
    bool has_buffered() const noexcept { return tls_ && tls_->has_buffered(); }

    /// For waiting until the stream can be read, or also when it can be written. An encrypted stream may have to be
    /// written to be read.
    async::Wait until_readable(Deadline deadline) { return ready(tls_ && tls_->wants_write(), deadline); }
    /// The same, with a place for what comes where whoever waits can read it by himself.
    async::Wait until_readable(Deadline deadline, char* data, std::size_t size) {
        async::Wait wait = until_readable(deadline);
        if (!tls_) {
            wait.into = data;
            wait.size = size;
        }
        return wait;
    }
    async::Wait until_readable_or_writable(Deadline deadline) { return ready(true, deadline); }

    /// From any thread: both directions end now, and whoever waits is woken. The descriptor stays.
    void shut_down() noexcept;
    void close() noexcept;

private:
    /// The error, or 0.
    async::Operation<int> try_connect(const struct Address& address, Deadline deadline);
    async::Operation<> connect_tcp(Deadline deadline);
    async::Operation<> connect_unix(Deadline deadline);
    async::Operation<> shake_hands(Deadline deadline);
    async::Wait ready(bool write, Deadline deadline);
    template <class Step>
    auto encrypted(Step step);
    [[noreturn]] void fail(const char* what, int error) const;

    StreamTarget target_;
    std::string peer_;
    kombu::detail::ForkSafeMutex
        close_mutex_;  // shut_down() must not meet a descriptor number that somebody else got meanwhile
    async::WaitHandle handle_;
    Descriptor descriptor_;
    std::unique_ptr<Tls> tls_;
};

}  // namespace kombu::net
