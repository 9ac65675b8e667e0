#include "net/tcp_stream.hpp"

#include <kombu/error.hpp>

#include "net/resolver.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace kombu::net {
namespace {

std::string text_of(int error) { return std::generic_category().message(error); }

void set_option(int fd, int level, int name, int value) noexcept {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

TcpStream::TcpStream(std::string host, std::uint16_t port)
    : host_(std::move(host)),
      peer_((host_.find(':') == std::string::npos ? host_ : '[' + host_ + ']') + ':' + std::to_string(port)),
      port_(port) {}

Operation<> TcpStream::connect(Deadline deadline) {
    const auto addresses = co_await resolve(host_, port_, deadline);
    int error = 0;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const auto rest = static_cast<std::int64_t>(addresses.size() - i);
        const Deadline attempt =
            deadline.is_never() ? deadline : std::min(deadline, Deadline::after(deadline.remaining() / rest));
        error = co_await try_connect(addresses[i], attempt);
        if (error == 0) co_return;
        close();
        if (deadline.expired()) throw Timeout(peer_ + ": no answer to the attempt to connect");
    }
    throw ConnectionError(peer_ + ": " + (addresses.empty() ? "no address" : text_of(error)));
}

Operation<int> TcpStream::try_connect(const Address& address, Deadline deadline) {
    const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) co_return errno;
    handle_.descriptor = fd;
    descriptor_.opened(handle_);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
    int error = ::connect(fd, address.get(), address.size) == 0 ? 0 : errno;
    if (error != EINPROGRESS && error != EINTR) co_return error;
    const Ready ready = co_await until_readable_or_writable(deadline);
    if (!is_open()) co_return EBADF;  // forked meanwhile
    if (!ready) co_return ETIMEDOUT;
    socklen_t size = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    co_return error;
}

void TcpStream::fail(const char* what, int error) const {
    throw ConnectionError(peer_ + ": " + what + ": " + text_of(error));
}

std::optional<std::size_t> TcpStream::read_some(char* data, std::size_t size) {
    for (;;) {
        if (!is_open()) fail("reading", EBADF);
        const ssize_t count = ::recv(handle_.descriptor, data, size, 0);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("reading", errno);
    }
}

std::optional<std::size_t> TcpStream::write_some(std::string_view data) {
    for (;;) {
        if (!is_open()) fail("writing", EBADF);
        const ssize_t count = ::send(handle_.descriptor, data.data(), data.size(), MSG_NOSIGNAL);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("writing", errno);
    }
}

Wait TcpStream::ready(bool write, Deadline deadline) {
    if (!is_open()) fail("waiting", EBADF);
    return {.handle = &handle_, .write = write, .until = deadline};
}

void TcpStream::shut_down() noexcept {
    std::lock_guard lock{close_mutex_};
    if (is_open()) ::shutdown(handle_.descriptor, SHUT_RDWR);
}

void TcpStream::close() noexcept {
    std::lock_guard lock{close_mutex_};
    if (handle_.descriptor < 0 || descriptor_.is_inherited()) return;
    handle_.registration.reset();
    const int fd = std::exchange(handle_.descriptor, -1);
    ::shutdown(fd, SHUT_RDWR);  // the peer hears of it, also when a forked child has yet to close its copy
    descriptor_.closing();
    ::close(fd);
}

}  // namespace kombu::net
