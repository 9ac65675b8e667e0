// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

/// A Redis client without the library, to inspect a server: sends a command and blocks for its reply, in RESP 2. Throws
/// std::runtime_error for an error reply.
class RawRedis {
public:
    explicit RawRedis(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error("no Redis on port " + std::to_string(port));
    }
    RawRedis(const RawRedis&) = delete;
    RawRedis& operator=(const RawRedis&) = delete;
    ~RawRedis() { ::close(fd_); }

    kombu::Json operator()(const std::vector<std::string>& words) {
        std::string out = '*' + std::to_string(words.size()) + "\r\n";
        for (const std::string& word : words) out += '$' + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        for (std::size_t sent = 0; sent < out.size();) {
            const ssize_t count = ::send(fd_, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
            if (count <= 0) throw std::runtime_error("Redis has gone");
            sent += static_cast<std::size_t>(count);
        }
        return reply();
    }

private:
    char next() {
        if (at_ == in_.size()) {
            char buffer[65536];
            const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
            if (count <= 0) throw std::runtime_error("Redis has gone");
            in_.assign(buffer, static_cast<std::size_t>(count));
            at_ = 0;
        }
        return in_[at_++];
    }
    std::string line() {
        std::string text;
        for (char c = next(); c != '\n'; c = next())
            if (c != '\r') text += c;
        return text;
    }
    kombu::Json reply() {
        const std::string text = line();
        const std::string rest = text.substr(1);
        switch (text.at(0)) {
            case '+': return rest;
            case ':': return std::stoll(rest);
            case '$': {
                if (rest == "-1") return nullptr;
                std::string body(std::stoul(rest), '\0');
                for (char& c : body) c = next();
                line();
                return body;
            }
            case '*': {
                if (rest == "-1") return nullptr;
                kombu::Json list = kombu::Json::array();
                for (int n = std::stoi(rest); n > 0; --n) list.push_back(reply());
                return list;
            }
            default: throw std::runtime_error(rest);
        }
    }

    int fd_;
    std::string in_{};
    std::size_t at_ = 0;
};
