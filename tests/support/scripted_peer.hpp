// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

/// The peer's side of one TCP connection, for scripts.
class PeerSocket {
public:
    PeerSocket(int fd, const std::atomic<bool>& stop) : fd_(fd), stop_(stop) {}

    void send(std::string_view data) {
        while (!data.empty()) {
            const ssize_t count = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
            if (count <= 0) return;
            data.remove_prefix(static_cast<std::size_t>(count));
        }
    }
    /// Reads until `size` bytes have arrived, the client closes the connection, or the test ends.
    std::string receive(std::size_t size) {
        std::string data;
        while (data.size() < size && wait_readable()) {
            char buffer[65536];
            const ssize_t count = ::recv(fd_, buffer, std::min(sizeof buffer, size - data.size()), 0);
            if (count <= 0) break;
            data.append(buffer, static_cast<std::size_t>(count));
        }
        return data;
    }
    /// Reads one AMQP frame. Returns "" when the client has closed the connection.
    std::string receive_frame() {
        std::string frame = receive(7);
        if (frame.size() < 7) return {};
        std::uint32_t size = 0;
        for (int i = 3; i < 7; ++i) size = size << 8 | static_cast<unsigned char>(frame[static_cast<std::size_t>(i)]);
        return frame + receive(size + 1);
    }
    /// Discards what arrives until the client closes the connection or the test ends.
    void wait_for_close() {
        while (!receive(1).empty()) {
        }
    }
    bool stopped() const { return stop_; }

private:
    bool wait_readable() {
        while (!stop_) {
            pollfd waiting{fd_, POLLIN, 0};
            if (::poll(&waiting, 1, 20) > 0) return true;
        }
        return false;
    }

    int fd_;
    const std::atomic<bool>& stop_;
};

/// A server on its own loopback port that runs a script for each client, one client after the other.
class ScriptedPeer {
public:
    using Script = std::function<void(PeerSocket&)>;

    explicit ScriptedPeer(Script script) : script_(std::move(script)) {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
            ::listen(listener_, 16) != 0)
            throw std::runtime_error("cannot listen");
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread{[this] { serve(); }};
    }
    ScriptedPeer(const ScriptedPeer&) = delete;
    ScriptedPeer& operator=(const ScriptedPeer&) = delete;
    ~ScriptedPeer() {
        stop_ = true;
        thread_.join();
        ::close(listener_);
    }

    int port() const { return port_; }
    std::string url(const std::string& query = "") const {
        return "amqp://user:s3cret@127.0.0.1:" + std::to_string(port_) + "//" + query;
    }

private:
    void serve() {
        while (!stop_) {
            pollfd waiting{listener_, POLLIN, 0};
            if (::poll(&waiting, 1, 20) <= 0) continue;
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) continue;
            PeerSocket peer{fd, stop_};
            script_(peer);
            ::close(fd);
        }
    }

    Script script_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};
