// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// A minimal peer in a process of its own: accepts AMQP clients and their declarations, confirms the messages of those
/// that enabled confirms, and discards everything. To a consumer it sends messages without end, as far as its prefetch
/// count allows. From clients that begin with RAW it only reads. So benchmarks measure the client; a real
/// broker costs many times as much.
class Sink {
public:
    Sink() {
        void* const shared = ::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (shared == MAP_FAILED || listener < 0 ||
            ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 64) != 0)
            throw std::runtime_error("no sink");
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        counts_ = new (shared) Counts;
        child_ = ::fork();
        if (child_ == 0) serve(listener);
        ::close(listener);
    }
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    ~Sink() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }

    std::uint16_t port() const { return port_; }
    std::uint64_t bytes() const { return counts_->bytes; }
    std::uint64_t messages() const { return counts_->messages; }

private:
    struct Counts {
        std::atomic<std::uint64_t> bytes{0}, messages{0};
    };
    struct Client {
        int fd;
        std::string input{};
        bool raw = false, greeted = false, confirms = false;
        std::uint64_t published = 0, confirmed = 0;
        std::string consumer{};                // its tag
        const std::string* content = nullptr;  // the frames of each message, by the name of the queue
        std::uint64_t prefetch = 0, delivered = 0, settled = 0;
        std::string deliveries{};  // one window of them, encoded
    };

    static std::string frame(std::uint16_t channel, std::uint16_t class_id, std::uint16_t method,
                             std::string_view arguments) {
        std::string out{'\1'};
        const auto number = [&](std::uint64_t value, int bytes) {
            while (bytes-- > 0) out.push_back(static_cast<char>(value >> (8 * bytes)));
        };
        number(channel, 2);
        number(4 + arguments.size(), 4);
        number(class_id, 2);
        number(method, 2);
        return out.append(arguments) + '\xce';
    }
    static std::uint64_t number(std::string_view text) {
        std::uint64_t value = 0;
        for (const char c : text) value = value << 8 | static_cast<unsigned char>(c);
        return value;
    }
    static void send(const Client& client, std::string_view data) {
        [[maybe_unused]] const auto sent = ::send(client.fd, data.data(), data.size(), MSG_NOSIGNAL);
    }

    void handle_method(Client& client, std::string_view method, std::uint16_t channel) {
        using namespace std::string_literals;
        const auto class_id = number(method.substr(0, 2)), id = number(method.substr(2, 2));
        const auto is = [&](unsigned c, unsigned m) { return class_id == c && id == m; };
        if (is(10, 11)) send(client, frame(0, 10, 30, "\x07\xff\x00\x02\x00\x00\x00\x00"s));
        if (is(10, 40)) send(client, frame(0, 10, 41, "\0"s));
        if (is(10, 50)) send(client, frame(0, 10, 51, ""));
        if (is(20, 10)) send(client, frame(channel, 20, 11, "\0\0\0\0"s));
        if (is(20, 40)) send(client, frame(channel, 20, 41, ""));
        if (is(85, 10)) {
            client.confirms = true;
            send(client, frame(channel, 85, 11, ""));
        }
        if (is(40, 10)) send(client, frame(channel, 40, 11, ""));
        if (is(50, 10)) {
            const std::string_view name = method.substr(6, 1 + number(method.substr(6, 1)));
            send(client, frame(channel, 50, 11, std::string{name} + "\0\0\0\0\0\0\0\0"s));
        }
        if (is(50, 20)) send(client, frame(channel, 50, 21, ""));
        if (is(60, 40)) ++client.published;
        if (is(60, 10)) {
            client.prefetch = number(method.substr(8, 2));
            send(client, frame(channel, 60, 11, ""));
        }
        if (is(60, 20)) {
            const std::size_t tag_at = 7 + number(method.substr(6, 1));
            client.content = &content_of(method.substr(7, tag_at - 7));
            client.consumer = method.substr(tag_at, 1 + number(method.substr(tag_at, 1)));
            send(client, frame(channel, 60, 21, client.consumer));
        }
        if (is(60, 30)) {
            send(client, frame(channel, 60, 31, client.consumer));
            client.consumer.clear();
        }
        // Clients acknowledge in order: a tag stands for those before it, whether it says so or not.
        if (is(60, 80)) client.settled = std::max(client.settled, number(method.substr(4, 8)));
    }

    static std::string size_of(std::string_view text) {
        std::string size;
        for (int shift = 24; shift >= 0; shift -= 8) size.push_back(static_cast<char>(text.size() >> shift));
        return size;
    }
    /// The headers that Celery sends with a task, as an AMQP table.
    static std::string celery_headers() {
        const std::string id = "a46cf29c-4a3d-4c4b-9b0b-5d1a3f1d2c11";
        std::string entries;
        const auto text = [&](std::string_view name, std::string_view value) {
            entries += static_cast<char>(name.size());
            entries.append(name).append("S").append(size_of(value)).append(value);
        };
        for (const char* name : {"id", "root_id"}) text(name, id);
        text("lang", "py");
        text("task", "images.resize");
        text("argsrepr", "['cat.png', 640]");
        text("kwargsrepr", "{'keep_ratio': True}");
        text("origin", "gen1234@worker");
        for (const char* name : {"shadow", "eta", "expires", "group", "group_index", "parent_id"})
            entries.append(1, static_cast<char>(std::strlen(name))).append(name).append("V");
        entries.append("\7retries").append("I").append(4, '\0');
        return entries;
    }
    /// The frames of a message.
    static std::string encode_content(const std::string& headers, std::size_t body_size) {
        using namespace std::string_literals;
        const std::string body(body_size, 'x');
        std::string properties = "\0\x3c\0\0"s + "\0\0\0\0"s + size_of(body);
        properties += (headers.empty() ? "\x80\0"s : "\xa0\0"s) + "\x0atext/plain"s;
        if (!headers.empty()) properties += size_of(headers) + headers;
        const auto framed = [](char type, std::string_view payload) {
            return std::string{type} + "\0\1"s + size_of(payload) + std::string{payload} + '\xce';
        };
        std::string frames = framed('\2', properties);
        constexpr std::size_t max_payload = 131072 - 8;
        for (std::size_t at = 0; at < body.size(); at += max_payload)
            frames += framed('\3', std::string_view{body}.substr(at, max_payload));
        return frames;
    }
    /// Messages have 1 KiB, unless the name of their queue says otherwise, and no headers but in the queue "celery".
    static const std::string& content_of(std::string_view queue) {
        static const std::string plain = encode_content("", 1024), task = encode_content(celery_headers(), 1024),
                                 large = encode_content("", 65536), huge = encode_content("", 1 << 20);
        return queue == "celery" ? task : queue == "64KiB" ? large : queue == "1MiB" ? huge : plain;
    }

    /// Sends what the prefetch count allows.
    void deliver(Client& client) {
        if (client.consumer.empty()) return;
        using namespace std::string_literals;
        client.deliveries.clear();
        while (client.delivered - client.settled < client.prefetch) {
            ++client.delivered;
            std::string arguments = client.consumer;
            for (int shift = 56; shift >= 0; shift -= 8)
                arguments.push_back(static_cast<char>(client.delivered >> shift));
            client.deliveries += frame(1, 60, 60, arguments + "\0\0\1q"s) + *client.content;
        }
        if (!client.deliveries.empty()) send(client, client.deliveries);
    }

    void process_input(Client& client) {
        std::size_t at = 0;
        const std::string_view input = client.input;
        if (!client.greeted && input.size() >= 8) {
            using namespace std::string_literals;
            client.raw = input.starts_with("RAW");
            client.greeted = true;
            at = 8;
            if (!client.raw) send(client, frame(0, 10, 10, "\0\x09\0\0\0\0\0\0\0\5PLAIN\0\0\0\5en_US"s));
        }
        if (client.raw) at = input.size();
        while (client.greeted && !client.raw && input.size() - at >= 8) {
            const auto size = number(input.substr(at + 3, 4));
            if (input.size() - at < size + 8) break;
            if (input[at] == '\1')
                handle_method(client, input.substr(at + 7, size),
                              static_cast<std::uint16_t>(number(input.substr(at + 1, 2))));
            at += size + 8;
        }
        client.input.erase(0, at);
        const std::uint64_t newly_published = client.published - client.confirmed;
        if (client.confirms && newly_published != 0) {
            std::string tag;
            for (int shift = 56; shift >= 0; shift -= 8) tag.push_back(static_cast<char>(client.published >> shift));
            send(client, frame(1, 60, 80, tag + '\1'));
        }
        client.confirmed = client.published;
        deliver(client);
        counts_->messages += newly_published;
    }

    [[noreturn]] void serve(int listener) {
        std::vector<Client> clients;
        std::vector<char> buffer(1 << 18);
        for (;;) {
            std::vector<pollfd> waiting{{listener, POLLIN, 0}};
            for (const Client& client : clients) waiting.push_back({client.fd, POLLIN, 0});
            ::poll(waiting.data(), waiting.size(), -1);
            for (std::size_t i = clients.size(); i-- > 0;) {
                if (waiting[i + 1].revents == 0) continue;
                const auto count = ::recv(clients[i].fd, buffer.data(), buffer.size(), 0);
                if (count <= 0) {
                    ::close(clients[i].fd);
                    clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i));
                    continue;
                }
                counts_->bytes += static_cast<std::uint64_t>(count);
                if (clients[i].raw) continue;
                clients[i].input.append(buffer.data(), static_cast<std::size_t>(count));
                process_input(clients[i]);
            }
            if (waiting[0].revents != 0) {
                const int fd = ::accept(listener, nullptr, nullptr);
                const int yes = 1;
                ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                clients.push_back({fd});
            }
        }
    }

    std::uint16_t port_ = 0;
    Counts* counts_ = nullptr;
    pid_t child_ = -1;
};
