// SPDX-License-Identifier: BSD-3-Clause
// A pre-fork server: some processes accept connections on one socket, and publish each line that a client sends. The
// parent has used the library before it forks, which needs no preparation: each child has pools of its own.
//
//     prefork_server [URL [PROCESSES [PORT]]]     default: redis://localhost, three processes, any port
//
// SIGINT and SIGTERM end it: each child answers the line that it has begun, then the parent says how they ended.
#include <kombu/kombu.hpp>

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

volatile sig_atomic_t stopping = 0;
void stop(int) { stopping = 1; }

/// Without SA_RESTART: a signal ends accept(2), read(2) and waitpid(2).
void handle_signals() {
    struct sigaction action {};
    action.sa_handler = stop;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

int listen_on(std::uint16_t port) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        ::bind(listener, any, size) != 0 || ::listen(listener, 64) != 0 || ::getsockname(listener, any, &size) != 0)
        fail("listen");
    std::cout << "listening on port " << ntohs(address.sin_port) << std::endl;
    return listener;
}

std::string publish(const kombu::Connection& broker, const std::string& line) {
    try {
        auto producer = pools::producers[broker].acquire({.block = true, .timeout = 2s});
        producer->publish(line, {.routing_key = "prefork.lines", .timeout = 5s});
        return "ok " + std::to_string(::getpid()) + "\n";
    } catch (const kombu::Error& error) {
        return std::string{"error: "} + error.what() + "\n";
    }
}

void serve(int client, const kombu::Connection& broker) {
    std::string input;
    char part[4096];
    for (ssize_t size; !stopping && (size = ::read(client, part, sizeof part)) > 0;) {
        input.append(part, static_cast<std::size_t>(size));
        for (std::size_t end; (end = input.find('\n')) != std::string::npos; input.erase(0, end + 1)) {
            const std::string answer = publish(broker, input.substr(0, end));
            if (::write(client, answer.data(), answer.size()) < 0) return;
        }
    }
}

int run_child(int listener, const kombu::Connection& broker) {
    while (!stopping) {
        pollfd readable{listener, POLLIN, 0};
        if (::poll(&readable, 1, 1000) <= 0) continue;
        const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) continue;  // another process was faster
        serve(client, broker);
        ::close(client);
    }
    return pools::close_and_wait(2s) == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
    const kombu::Connection broker{argc > 1 ? argv[1] : "redis://localhost"};
    const int processes = argc > 2 ? std::atoi(argv[2]) : 3;
    const int listener = listen_on(static_cast<std::uint16_t>(argc > 3 ? std::atoi(argv[3]) : 0));

    // The queue is declared once, by the parent, through the same global pools.
    pools::producers[broker].acquire({.block = true, .timeout = 5s})->maybe_declare(kombu::Queue{"prefork.lines"});
    handle_signals();
    std::vector<pid_t> children;
    for (int i = 0; i < processes; ++i) {
        const pid_t child = ::fork();
        if (child < 0) fail("fork");
        if (child == 0) return run_child(listener, broker);
        children.push_back(child);
    }
    while (!stopping) ::pause();
    int failed = 0;
    for (const pid_t child : children) {
        ::kill(child, SIGTERM);
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        failed += status != 0 ? 1 : 0;
    }
    std::cout << processes << " processes ended, " << failed << " badly\n";
    return failed == 0 ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << "prefork_server: " << error.what() << '\n';
    return 1;
}
