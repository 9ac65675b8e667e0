// SPDX-License-Identifier: BSD-3-Clause
#include "line_reader.hpp"

#include "command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace kombu::command {

LineReader::LineReader(const std::string& path, const StopSignal& stop)
    : stop_(stop), descriptor_(path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw UsageError(path + ": " + std::strerror(errno));
}

LineReader::~LineReader() {
    if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
}

bool LineReader::has_line() noexcept {
    searched_ = std::min(buffer_.find('\n', std::max(searched_, position_)), buffer_.size());
    return searched_ < buffer_.size();
}

bool LineReader::fill() {
    if (at_end_) return false;
    buffer_.erase(0, position_);
    searched_ -= std::min(searched_, position_);
    position_ = 0;
    std::array<pollfd, 2> wait{{{descriptor_, POLLIN, 0}, {stop_.descriptor(), POLLIN, 0}}};
    while (::poll(wait.data(), wait.size(), -1) < 0) {
        if (errno != EINTR) throw UsageError(std::string{"the input cannot be read: "} + std::strerror(errno));
    }
    if (stop_.requested()) return false;
    constexpr std::size_t piece = 65536;
    const std::size_t size = buffer_.size();
    buffer_.resize(size + piece);
    const ssize_t received = ::read(descriptor_, buffer_.data() + size, piece);
    buffer_.resize(size + (received > 0 ? static_cast<std::size_t>(received) : 0));
    if (received < 0) throw UsageError(std::string{"the input cannot be read: "} + std::strerror(errno));
    at_end_ = received == 0;
    return !at_end_;
}

bool LineReader::next(std::string& line) {
    while (!has_line()) {
        if (fill()) continue;
        if (stop_.requested() || position_ == buffer_.size()) return false;
        line = buffer_.substr(position_);  // the last one, without a line feed
        position_ = buffer_.size();
        return true;
    }
    const std::size_t end = buffer_.find('\n', position_);
    line.assign(buffer_, position_, end - position_);
    position_ = end + 1;
    return true;
}

bool LineReader::rest(std::string& text) {
    while (fill()) {
    }
    if (stop_.requested()) return false;
    text = buffer_.substr(position_);
    position_ = buffer_.size();
    return true;
}

}  // namespace kombu::command
