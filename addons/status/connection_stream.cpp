// SPDX-License-Identifier: BSD-3-Clause
#include "connection_stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace kombu::status {

bool ConnectionStream::await(short event) const {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
        if (left <= 0) return false;
        pollfd wait{socket_, event, 0};
        const int ready = ::poll(&wait, 1, static_cast<int>(left));
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

bool ConnectionStream::is_readable() const { return position_ < end_ || await(POLLIN); }
bool ConnectionStream::is_writable() const { return await(POLLOUT); }

ssize_t ConnectionStream::read(char* data, size_t size) {
    if (position_ == end_) {
        if (budget_ == 0 || !await(POLLIN)) return -1;
        const ssize_t received = ::recv(socket_, buffer_, std::min(sizeof buffer_, budget_), MSG_DONTWAIT);
        if (received <= 0) return received;
        budget_ -= static_cast<std::size_t>(received);
        position_ = 0;
        end_ = static_cast<std::size_t>(received);
    }
    const std::size_t taken = std::min(size, end_ - position_);
    std::memcpy(data, buffer_ + position_, taken);
    position_ += taken;
    return static_cast<ssize_t>(taken);
}

ssize_t ConnectionStream::write(const char* data, size_t size) {
    for (;;) {
        if (!await(POLLOUT)) return -1;
        const ssize_t sent = ::send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0 || (errno != EAGAIN && errno != EINTR)) return sent;
    }
}

}  // namespace kombu::status
