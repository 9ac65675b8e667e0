#include "net/tcp_stream.hpp"

#include <kombu/error.hpp>

#include "net/resolver.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace kombu::net {
namespace {

std::string text_of(int error) { return std::generic_category().message(error); }

/// poll(2) until the events, or false at the deadline.
short poll_until(int fd, short events, Deadline deadline) {
    for (;;) {
        pollfd waiting{fd, events, 0};
        timespec left{};
        if (!deadline.is_never()) {
            const auto remaining = deadline.remaining();
            const auto seconds = std::chrono::floor<std::chrono::seconds>(remaining);
            left = {static_cast<time_t>(seconds.count()), static_cast<long>((remaining - seconds).count())};
        }
        const int count = ::ppoll(&waiting, 1, deadline.is_never() ? nullptr : &left, nullptr);
        if (count > 0) return waiting.revents;
        if (count == 0) return 0;
        if (errno != EINTR) throw ConnectionError("poll: " + text_of(errno));
    }
}

void set_option(int fd, int level, int name, int value) noexcept {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

TcpStream::TcpStream(const std::string& host, std::uint16_t port, Deadline deadline)
    : peer_((host.find(':') == std::string::npos ? host : '[' + host + ']') + ':' + std::to_string(port)) {
    const auto addresses = resolve(host, port, deadline);
    std::string why = "no address";
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const auto rest = static_cast<std::int64_t>(addresses.size() - i);
        const Deadline attempt =
            deadline.is_never() ? deadline : std::min(deadline, Deadline::after(deadline.remaining() / rest));
        if (try_connect(addresses[i], attempt, why)) return;
        if (deadline.expired()) throw Timeout(peer_ + ": no answer to the attempt to connect");
    }
    throw ConnectionError(peer_ + ": " + why);
}

bool TcpStream::try_connect(const Address& address, Deadline deadline, std::string& why) {
    const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        why = text_of(errno);
        return false;
    }
    fd_ = fd;
    descriptor_.opened(fd);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
    int error = ::connect(fd, address.get(), address.size) == 0 ? 0 : errno;
    if (error == EINPROGRESS || error == EINTR) {
        socklen_t size = sizeof error;
        if (poll_until(fd, POLLOUT, deadline) == 0)
            error = ETIMEDOUT;
        else if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
    }
    if (error == 0) return true;
    why = text_of(error);
    close();
    return false;
}

void TcpStream::fail(const char* what, int error) const {
    throw ConnectionError(peer_ + ": " + what + ": " + text_of(error));
}

std::optional<std::size_t> TcpStream::read_some(char* data, std::size_t size) {
    for (;;) {
        if (!is_open()) fail("reading", EBADF);
        const ssize_t count = ::recv(fd_, data, size, 0);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("reading", errno);
    }
}

std::optional<std::size_t> TcpStream::write_some(std::string_view data) {
    for (;;) {
        if (!is_open()) fail("writing", EBADF);
        const ssize_t count = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("writing", errno);
    }
}

TcpStream::Ready TcpStream::wait(bool want_write, Deadline deadline) {
    if (!is_open()) fail("waiting", EBADF);
    const short events = poll_until(fd_, static_cast<short>(POLLIN | (want_write ? POLLOUT : 0)), deadline);
    // Errors and hang-ups show themselves when the stream is read.
    return {(events & ~POLLOUT) != 0, (events & POLLOUT) != 0};
}

void TcpStream::shut_down() noexcept {
    std::lock_guard lock{close_mutex_};
    if (is_open()) ::shutdown(fd_, SHUT_RDWR);
}

void TcpStream::close() noexcept {
    std::lock_guard lock{close_mutex_};
    const int fd = std::exchange(fd_, -1);
    if (fd < 0 || descriptor_.is_inherited()) return;
    ::shutdown(fd, SHUT_RDWR);  // the peer hears of it, also when a forked child has yet to close its copy
    descriptor_.closing();
    ::close(fd);
}

}  // namespace kombu::net
