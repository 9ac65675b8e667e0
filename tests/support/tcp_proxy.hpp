// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

/// Passes TCP connections on to a port of this machine, and plays a network that fails.
class TcpProxy {
public:
    explicit TcpProxy(int target) : target_(target), listener_(make_socket()) {
        sockaddr_in address = loopback(0);
        socklen_t size = sizeof address;
        if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
            ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
            throw std::runtime_error("the proxy cannot listen");
        port_ = ntohs(address.sin_port);
        thread_ = std::thread{[this] { forward(); }};
    }
    TcpProxy(const TcpProxy&) = delete;
    TcpProxy& operator=(const TcpProxy&) = delete;
    ~TcpProxy() {
        done_ = true;
        thread_.join();
        for (Link& link : links_) link.close(false);
        ::close(listener_);
    }

    int port() const noexcept { return port_; }
    /// Ends all connections, with RST, and as long as it is `down` each new one at once.
    void set_down(bool down) {
        down_ = down;
        ++resets_;
        await();
    }
    void reset() {
        ++resets_;
        await();
    }
    /// Passes nothing on, without closing anything.
    void set_silent(bool silent) {
        silent_ = silent;
        await();
    }

private:
    struct Link {
        int client, server;
        void close(bool with_reset) {
            for (const int fd : {client, server}) {
                const linger now{1, 0};
                if (with_reset) ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
                ::close(fd);
            }
        }
    };

    static sockaddr_in loopback(int port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }
    static int make_socket() { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }
    /// Waits until the thread has seen what was set.
    void await() const {
        const std::uint64_t turn = turns_;
        while (turns_ < turn + 2 && !done_) std::this_thread::yield();
    }

    void forward() {
        int seen_resets = 0;
        std::vector<char> buffer(1 << 16);
        while (!done_) {
            ++turns_;
            if (const int resets = resets_; resets != seen_resets) {
                seen_resets = resets;
                for (Link& link : links_) link.close(true);
                links_.clear();
            }
            std::vector<pollfd> entries{{listener_, POLLIN, 0}};
            for (const Link& link : links_) {
                const short events = silent_ ? 0 : POLLIN;
                entries.push_back({silent_ ? -1 : link.client, events, 0});
                entries.push_back({silent_ ? -1 : link.server, events, 0});
            }
            ::poll(entries.data(), entries.size(), 5);
            if (entries[0].revents != 0) accept();
            std::size_t at = 1;
            for (auto link = links_.begin(); link != links_.end() && at < entries.size(); at += 2) {
                const bool is_open = pass(entries[at], link->client, link->server, buffer) &&
                                     pass(entries[at + 1], link->server, link->client, buffer);
                if (!is_open) link->close(false);
                link = is_open ? std::next(link) : links_.erase(link);
            }
        }
    }

    void accept() {
        const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) return;
        Link link{client, make_socket()};
        const sockaddr_in address = loopback(target_);
        if (down_ || ::connect(link.server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            return link.close(true);
        links_.push_back(link);
    }

    static bool pass(const pollfd& entry, int from, int to, std::vector<char>& buffer) {
        if (entry.revents == 0) return true;
        const ssize_t count = ::recv(from, buffer.data(), buffer.size(), 0);
        if (count <= 0) return false;
        for (ssize_t sent = 0; sent < count;) {
            const ssize_t part = ::send(to, buffer.data() + sent, static_cast<std::size_t>(count - sent), MSG_NOSIGNAL);
            if (part <= 0) return false;
            sent += part;
        }
        return true;
    }

    const int target_;
    const int listener_;
    int port_ = 0;
    std::list<Link> links_{};
    std::atomic<bool> done_{false}, down_{false}, silent_{false};
    std::atomic<int> resets_{0};
    std::atomic<std::uint64_t> turns_{0};
    std::thread thread_{};
};
