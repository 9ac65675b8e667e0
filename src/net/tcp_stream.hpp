#pragma once

#include <kombu/deadline.hpp>
#include <kombu/detail/per_process.hpp>

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
    /// Tries each address of the host, each for its share of the time.
    TcpStream(const std::string& host, std::uint16_t port, Deadline deadline);
    TcpStream(const TcpStream&) = delete;
    TcpStream& operator=(const TcpStream&) = delete;
    ~TcpStream() { close(); }

    bool is_open() const noexcept { return fd_ >= 0 && !descriptor_.is_inherited(); }
    /// host:port, for messages.
    const std::string& peer() const noexcept { return peer_; }

    /// Bytes read; 0 when the peer has closed; nothing when there is nothing to read now.
    std::optional<std::size_t> read_some(char* data, std::size_t size);
    /// Bytes written; nothing when none can be written now.
    std::optional<std::size_t> write_some(std::string_view data);

    struct Ready {
        bool read = false;
        bool write = false;
    };
    /// Waits until the stream can be read (or written, when asked). Neither: the deadline passed.
    Ready wait(bool want_write, Deadline deadline);

    /// From any thread: both directions end now, and whoever waits is woken. The descriptor stays.
    void shut_down() noexcept;
    void close() noexcept;

private:
    bool try_connect(const struct Address& address, Deadline deadline, std::string& why);
    [[noreturn]] void fail(const char* what, int error) const;

    std::string peer_;
    kombu::detail::ForkSafeMutex
        close_mutex_;  // shut_down() must not meet a descriptor number that somebody else got meanwhile
    int fd_ = -1;
    Descriptor descriptor_;
};

}  // namespace kombu::net
