// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <httplib.h>

#include <chrono>
#include <cstddef>
#include <string>

namespace kombu::status {

/// A connection for cpp-httplib, whose own one bounds each read, but neither the time nor the size of a request: with a
/// byte now and then a client could keep it for ever.
class ConnectionStream final : public httplib::Stream {
public:
    using Clock = std::chrono::steady_clock;

    /// \param deadline  of the whole connection
    /// \param budget  the bytes that may be read
    ConnectionStream(int socket, Clock::time_point deadline, std::size_t budget)
        : socket_(socket), deadline_(deadline), budget_(budget) {}

    bool is_readable() const override;
    bool is_writable() const override;
    ssize_t read(char* data, size_t size) override;
    ssize_t write(const char* data, size_t size) override;
    // Nobody asks for the addresses.
    void get_remote_ip_and_port(std::string&, int&) const override {}
    void get_local_ip_and_port(std::string&, int&) const override {}
    socket_t socket() const override { return socket_; }

private:
    /// Waits for the event of poll(2); false when the deadline has passed.
    bool await(short event) const;

    const int socket_;
    const Clock::time_point deadline_;
    std::size_t budget_;
    // cpp-httplib reads lines byte by byte.
    char buffer_[4096]{};
    std::size_t position_ = 0, end_ = 0;
};

}  // namespace kombu::status
