// SPDX-License-Identifier: BSD-3-Clause
// A service on Boost.Asio that publishes every line that a client sends over TCP. Each client has a coroutine; all
// clients share a pool of connections. The service answers "ok" when the broker has confirmed. SIGTERM ends it
// gracefully: it accepts no more clients, reads no more lines, and finishes pending publishes first.
//
//   line_service [PORT] [URL]     (default: any port, memory://)
#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <list>
#include <string>
#include <string_view>

using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr auto shutdown_timeout = 5s;

class Service {
public:
    Service(asio::io_context& io, const kombu::Connection& broker, std::uint16_t port)
        : broker_(broker),
          acceptor_(io, tcp::endpoint{asio::ip::address_v4::loopback(), port}),
          signals_(io, SIGTERM, SIGINT),
          shutdown_timer_(io) {}

    void start() {
        asio::co_spawn(acceptor_.get_executor(), accept(), asio::detached);
        signals_.async_wait([this](boost::system::error_code error, int) {
            if (!error) stop();
        });
        std::cout << "listening on port " << acceptor_.local_endpoint().port() << std::endl;
    }

    int published() const { return published_; }

private:
    asio::awaitable<void> accept() {
        for (;;) {
            auto [error, socket] = co_await acceptor_.async_accept(asio::as_tuple(asio::use_awaitable));
            if (error) co_return;  // closed by stop()
            const auto position = sockets_.insert(sockets_.end(), std::move(socket));
            asio::co_spawn(acceptor_.get_executor(), serve(*position), [this, position](std::exception_ptr) {
                sockets_.erase(position);
                if (stopping_ && sockets_.empty()) shutdown_timer_.cancel();
            });
        }
    }

    asio::awaitable<void> serve(tcp::socket& socket) {
        for (std::string input;;) {
            auto [error, size] = co_await asio::async_read_until(socket, asio::dynamic_buffer(input), '\n',
                                                                 asio::as_tuple(asio::use_awaitable));
            if (error) co_return;  // the client closed the connection, or stop() shut down reading
            const std::string answer = co_await publish(input.substr(0, size - 1));
            input.erase(0, size);
            co_await asio::async_write(socket, asio::buffer(answer), asio::use_awaitable);
        }
    }

    asio::awaitable<std::string> publish(std::string line) {
        // Named, and not written into the call: GCC 12 does not compile braces within a co_await expression correctly.
        const kombu::PublishOptions options{.routing_key = "lines", .timeout = 10s};
        try {
            auto producer =
                co_await kombu::pools::producers[broker_].async_acquire({.timeout = 10s}, asio::use_awaitable);
            co_await producer->async_publish(line, options, asio::use_awaitable);
        } catch (const kombu::Error& error) {
            co_return std::string{"error: "} + error.what() + '\n';
        }
        ++published_;
        co_return "ok\n";
    }

    void stop() {
        stopping_ = true;
        acceptor_.close();
        boost::system::error_code ignored;
        for (tcp::socket& socket : sockets_) socket.shutdown(tcp::socket::shutdown_receive, ignored);
        if (sockets_.empty()) return;
        shutdown_timer_.expires_after(shutdown_timeout);
        shutdown_timer_.async_wait([this](boost::system::error_code error) {
            if (error) return;
            for (tcp::socket& socket : sockets_) socket.close();
        });
    }

    const kombu::Connection broker_;
    tcp::acceptor acceptor_;
    asio::signal_set signals_;
    asio::steady_timer shutdown_timer_;
    std::list<tcp::socket> sockets_;
    bool stopping_ = false;
    int published_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
    const auto port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
    const kombu::Connection broker{argc > 2 ? argv[2] : "memory://lines"};
    broker.clone().simple_queue("lines");  // declares the queue
    asio::io_context io{1};
    Service service{io, broker, port};
    service.start();
    io.run();
    std::cout << "published " << service.published() << " lines" << std::endl;
    return EXIT_SUCCESS;
} catch (const std::exception& error) {
    std::cerr << "line_service: " << error.what() << '\n';
    return EXIT_FAILURE;
}
