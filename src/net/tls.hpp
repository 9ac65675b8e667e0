#pragma once

#include <kombu/ssl.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kombu::net {

/// What TLS makes of the bytes on a descriptor. Never blocks, raises no SIGPIPE, and says nothing at its end: what was
/// inherited by a forked child is still the parent's.
class Tls {
public:
    /// `host`: whom the certificate must name. Throws ConfigurationError when a file cannot be used.
    Tls(const SslOptions& options, const std::string& host, int descriptor);
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;
    ~Tls();

    /// Which way a step could not go on.
    enum class Blocked : std::uint8_t { no, on_read, on_write };

    /// One step of the handshake; done when it is not blocked. Throws ConnectionError, also for a certificate that is
    /// not trusted: that one is not retryable.
    Blocked handshake();
    /// As of a socket: nothing when it would block; reading gives 0 at the peer's end. Throws ConnectionError.
    std::optional<std::size_t> read_some(char* data, std::size_t size);
    std::optional<std::size_t> write_some(std::string_view data);
    /// Whether there is something to read that the descriptor does not know of any more.
    bool has_buffered() const noexcept;
    /// Whether the last step waits for the descriptor to become writable, whatever it was about.
    bool wants_write() const noexcept { return blocked_ == Blocked::on_write; }
    /// Says goodbye, as far as it can be said without waiting.
    void say_goodbye() noexcept;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
    Blocked blocked_ = Blocked::no;

    /// What a failed call means: blocked, or an exception. True at the peer's end.
    bool end_or_blocked(int result, const char* what);
};

}  // namespace kombu::net
