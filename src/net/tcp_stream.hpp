#pragma once

#include <kombu/detail/per_process.hpp>
#include <kombu/operation.hpp>

#include "net/descriptor.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kombu::net {

/// A TCP connection: non-blocking, close-on-exec, without Nagle's delay, with keep-alive, without SIGPIPE. Waiting is
/// separate from reading and writing, so that every wait has a deadline.
///
/// One thread at a time, except shut_down(). Errors of the peer or the network are ConnectionError, a deadline is
/// Timeout. In a forked child the stream is closed, without a word to the peer, and every use throws ConnectionError.
class TcpStream {
public:
    /// Not connected yet.
    TcpStream(std::string host, std::uint16_t port);
    TcpStream(const TcpStream&) = delete;
    TcpStream& operator=(const TcpStream&) = delete;
    ~TcpStream() { close(); }

    /// Tries each address of the host, each for its share of the time.
    Operation<> connect(Deadline deadline);

    bool is_open() const noexcept { return handle_.descriptor >= 0 && !descriptor_.is_inherited(); }
    /// host:port, for messages.
    const std::string& peer() const noexcept { return peer_; }

    /// Bytes read; 0 when the peer has closed; nothing when there is nothing to read now.
    std::optional<std::size_t> read_some(char* data, std::size_t size);
    /// Bytes written; nothing when none can be written now.
    std::optional<std::size_t> write_some(std::string_view data);

    /// For waiting until the stream can be read, or also when it can be written.
    Wait until_readable(Deadline deadline) { return ready(false, deadline); }
    Wait until_readable_or_writable(Deadline deadline) { return ready(true, deadline); }

    /// From any thread: both directions end now, and whoever waits is woken. The descriptor stays.
    void shut_down() noexcept;
    void close() noexcept;

private:
    /// The error, or 0.
    Operation<int> try_connect(const struct Address& address, Deadline deadline);
    Wait ready(bool write, Deadline deadline);
    [[noreturn]] void fail(const char* what, int error) const;

    std::string host_, peer_;
    std::uint16_t port_;
    kombu::detail::ForkSafeMutex
        close_mutex_;  // shut_down() must not meet a descriptor number that somebody else got meanwhile
    WaitHandle handle_;
    Descriptor descriptor_;
};

}  // namespace kombu::net
