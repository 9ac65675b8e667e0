// SPDX-License-Identifier: BSD-3-Clause
#include "net/stream.hpp"

#include <kombu/error.hpp>

#include "net/blocking_driver.hpp"
#include "net/resolver.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace kombu::net {
namespace {

std::string error_text(int error) { return std::generic_category().message(error); }

void set_option(int fd, int level, int name, int value) noexcept {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

void set_tcp_options(int fd, const KeepAlive& keep_alive) noexcept {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, keep_alive.on);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keep_alive.idle_seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, keep_alive.interval_seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, keep_alive.count);
}

std::string peer_name(const StreamTarget& target) {
    if (target.port == 0) return target.host;
    const bool ipv6 = target.host.find(':') != std::string::npos;
    return (ipv6 ? '[' + target.host + ']' : target.host) + ':' + std::to_string(target.port);
}

}  // namespace

Stream::Stream(StreamTarget target) : target_(std::move(target)), peer_(peer_name(target_)) {}

async::Operation<> Stream::connect(Deadline deadline) {
    if (target_.port == 0) {
        co_await connect_unix(deadline);
    } else {
        auto addresses = co_await resolve(target_.host, target_.port, deadline);
        co_await connect_tcp(std::move(addresses), deadline);
    }
    co_await finish_connecting(deadline);
}

async::Operation<> Stream::connect_beside(const Stream& other, Deadline deadline) {
    if (target_.port == 0) {
        co_await connect_unix(deadline);
    } else {
        std::vector<Address> addresses(1);
        addresses[0].size = sizeof addresses[0].storage;
        auto* const address = reinterpret_cast<sockaddr*>(&addresses[0].storage);
        if (::getpeername(other.handle_.descriptor, address, &addresses[0].size) != 0) fail("connecting", errno);
        co_await connect_tcp(std::move(addresses), deadline);
    }
    co_await finish_connecting(deadline);
}

async::Operation<> Stream::finish_connecting(Deadline deadline) {
    // From here on a driver may wait by a blocking read; all other calls pass MSG_DONTWAIT.
    ::fcntl(handle_.descriptor, F_SETFL, ::fcntl(handle_.descriptor, F_GETFL) & ~O_NONBLOCK);
    const timeval timeout{receive_timeout.count(), 0};
    ::setsockopt(handle_.descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (target_.tls) co_await handshake(deadline);
}

async::Operation<> Stream::connect_tcp(std::vector<Address> addresses, Deadline deadline) {
    int error = 0;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const auto remaining_addresses = static_cast<std::int64_t>(addresses.size() - i);
        const Deadline attempt_deadline =
            deadline.is_never() ? deadline
                                : std::min(deadline, Deadline::after(deadline.remaining() / remaining_addresses));
        error = co_await try_connect(addresses[i], attempt_deadline);
        if (error == 0) co_return;
        close();
        if (deadline.expired()) throw Timeout(peer_ + ": the connection attempt timed out");
    }
    throw ConnectionError(peer_ + ": " + (addresses.empty() ? "no address" : error_text(error)));
}

async::Operation<> Stream::connect_unix(Deadline deadline) {
    Address address;
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    if (target_.host.size() >= sizeof local.sun_path)
        throw ConfigurationError("unix socket: the path is longer than " + std::to_string(sizeof local.sun_path - 1) +
                                 " bytes");
    std::memcpy(local.sun_path, target_.host.data(), target_.host.size());
    std::memcpy(&address.storage, &local, sizeof local);
    address.size = sizeof local;
    const int error = co_await try_connect(address, deadline);
    if (error == 0) co_return;
    close();
    throw ConnectionError(peer_ + ": " + error_text(error));
}

async::Operation<int> Stream::try_connect(const Address& address, Deadline deadline) {
    const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) co_return errno;
    {
        std::lock_guard lock{close_mutex_};
        handle_.descriptor = fd;
        descriptor_.after_open(handle_);
    }
    if (address.storage.ss_family != AF_UNIX) set_tcp_options(fd, target_.keep_alive);
    int error = ::connect(fd, address.get(), address.size) == 0 ? 0 : errno;
    if (error != EINPROGRESS && error != EINTR) co_return error;
    const async::Ready ready = co_await until_readable_or_writable(deadline);
    if (!is_open()) co_return EBADF;  // the process has forked
    if (!ready) co_return ETIMEDOUT;
    socklen_t size = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    co_return error;
}

template <class Step>
auto Stream::with_tls(Step step) {
    try {
        return step(*tls_);
    } catch (const ConnectionError& error) {
        throw ConnectionError(peer_ + ": " + error.what(), error.code(), error.is_retryable());
    }
}

async::Operation<> Stream::handshake(Deadline deadline) {
    tls_ = std::make_unique<Tls>(*target_.tls, target_.host, peer_, handle_.descriptor);
    for (;;) {
        if (!is_open()) fail("TLS handshake", EBADF);
        const Tls::Blocked blocked = with_tls([](Tls& tls) { return tls.handshake(); });
        if (blocked == Tls::Blocked::no) co_return;
        co_await (blocked == Tls::Blocked::on_write ? until_readable_or_writable(deadline) : until_readable(deadline));
        if (deadline.expired()) throw Timeout(peer_ + ": the TLS handshake timed out");
    }
}

void Stream::fail(const char* what, int error) const {
    throw ConnectionError(peer_ + ": " + what + ": " + error_text(error));
}

std::optional<std::size_t> Stream::read_some(char* data, std::size_t size) {
    for (;;) {
        if (!is_open()) fail("reading", EBADF);
        if (tls_) return with_tls([&](Tls& tls) { return tls.read_some(data, size); });
        const ssize_t count = ::recv(handle_.descriptor, data, size, MSG_DONTWAIT);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("reading", errno);
    }
}

std::optional<std::size_t> Stream::write_some(std::string_view data) {
    for (;;) {
        if (!is_open()) fail("writing", EBADF);
        if (tls_) return with_tls([&](Tls& tls) { return tls.write_some(data); });
        const ssize_t count = ::send(handle_.descriptor, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("writing", errno);
    }
}

std::optional<std::size_t> Stream::write_some(std::span<const std::string_view> pieces) {
    std::array<iovec, max_pieces> buffers{};
    for (std::size_t i = 0; i < pieces.size(); ++i)
        buffers.at(i) = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
    msghdr message{};
    message.msg_iov = buffers.data();
    message.msg_iovlen = pieces.size();
    for (;;) {
        if (!is_open()) fail("writing", EBADF);
        const ssize_t count = ::sendmsg(handle_.descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
        if (errno != EINTR) fail("writing", errno);
    }
}

async::Wait Stream::make_wait(bool write, Deadline deadline) {
    if (!is_open()) fail("waiting", EBADF);
    return {.handle = &handle_, .write = write, .until = deadline};
}

void Stream::shutdown() noexcept {
    std::lock_guard lock{close_mutex_};
    if (is_open()) ::shutdown(handle_.descriptor, SHUT_RDWR);
}

void Stream::close() noexcept {
    std::lock_guard lock{close_mutex_};
    if (handle_.descriptor < 0 || descriptor_.is_inherited()) return;
    if (tls_) tls_->send_close_notify();
    handle_.registration.reset();
    const int fd = std::exchange(handle_.descriptor, -1);
    ::shutdown(fd, SHUT_RDWR);  // notifies the peer even while a forked child still has a copy
    descriptor_.before_close();
    ::close(fd);
}

}  // namespace kombu::net
