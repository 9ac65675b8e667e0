// SPDX-License-Identifier: BSD-3-Clause
// A pool of contexts of hiredis, for a program that has its own commands for Redis. A PoolGroup has one pool for each
// server. A context whose server has closed it is replaced before it is lent, and idle ones are kept alive by PING.
//
//     hiredis_pool HOST PORT [THREADS]            counts to 1,000 with INCR, on three contexts
#include <kombu/pool/pool_group.hpp>
#include <kombu/pool/resource_pool.hpp>

#include <hiredis/hiredis.h>

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

struct Server {
    std::string host{};
    int port = 6379;
    friend bool operator==(const Server&, const Server&) = default;
};

template <>
struct std::hash<Server> {
    std::size_t operator()(const Server& server) const {
        return std::hash<std::string>{}(server.host) ^ static_cast<std::size_t>(server.port);
    }
};

namespace {

struct FreeReply {
    void operator()(redisReply* reply) const { ::freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

constexpr std::chrono::seconds command_timeout{5};

/// One connection.
class Redis {
public:
    Redis(const Server& server, kombu::Deadline deadline)
        : context_(::redisConnectWithTimeout(server.host.c_str(), server.port, to_timeval(deadline))) {
        if (!context_) throw std::bad_alloc{};
        if (context_->err) throw std::runtime_error(server.host + ": " + context_->errstr);
        set_timeout(kombu::Deadline::after(command_timeout));
    }
    /// Of each command from now on: a server that hangs must not hold a thread for ever.
    void set_timeout(kombu::Deadline deadline) { ::redisSetTimeout(context_.get(), to_timeval(deadline)); }
    template <class... Arguments>
    Reply command(const char* format, Arguments... arguments) {
        Reply reply{static_cast<redisReply*>(::redisCommand(context_.get(), format, arguments...))};
        if (!reply) throw std::runtime_error(context_->errstr);  // the context is of no use any more
        if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error(reply->str);
        return reply;
    }
    bool has_failed() const { return context_->err != 0; }
    /// Whether the server has neither closed the connection nor sent what nobody has asked for.
    bool is_connected() const {
        char byte;
        return !has_failed() && ::recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
               (errno == EAGAIN || errno == EWOULDBLOCK);
    }
    void shut_down() { ::shutdown(context_->fd, SHUT_RDWR); }

private:
    struct Free {
        void operator()(redisContext* context) const { ::redisFree(context); }
    };
    static timeval to_timeval(kombu::Deadline deadline) {
        const auto end = std::min(deadline.when(), kombu::Clock::now() + command_timeout);
        const auto left = std::chrono::duration_cast<std::chrono::microseconds>(end - kombu::Clock::now());
        const long long us = std::max<long long>(left.count(), 1000);  // 0 would be no bound
        return {static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
    }
    std::unique_ptr<redisContext, Free> context_;
};

std::unique_ptr<kombu::ResourcePool<Redis>> make_pool(const Server& server, const kombu::PoolOptions& options) {
    kombu::ResourceFactory<Redis> factory;
    // Within the deadline of the caller that waits for it.
    factory.create = [server](const kombu::Acquisition& acquisition) {
        return std::make_shared<Redis>(server, acquisition);
    };
    factory.validate = [](Redis& redis) { return redis.is_connected(); };  // at each acquire: no round trip
    factory.keepalive = [](Redis& redis, kombu::Deadline deadline) {
        redis.set_timeout(deadline);  // one thread maintains all pools of the process
        redis.command("PING");        // an exception has the context replaced
        redis.set_timeout(kombu::Deadline::after(command_timeout));
        return true;
    };
    factory.recycle = [](Redis& redis, bool) { return !redis.has_failed(); };
    factory.interrupt = [](Redis& redis) { redis.shut_down(); };  // reset() must not wait for a hanging command
    factory.resource_name = "context";
    return std::make_unique<kombu::ResourcePool<Redis>>(std::move(factory), options);
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::cerr << "usage: hiredis_pool HOST PORT [THREADS]\n";
        return 2;
    }
    const Server server{argv[1], std::atoi(argv[2])};
    const int threads = argc > 3 ? std::clamp(std::atoi(argv[3]), 1, 1000) : 10;
    kombu::PoolGroup<Server, kombu::ResourcePool<Redis>> contexts{
        [](const Server& key, const kombu::PoolOptions& options) { return make_pool(key, options); },
        3,
        nullptr,
        {.keepalive = 30s, .name = "redis"}};

    contexts[server].acquire()->command("DEL %s", "hiredis_pool");
    std::atomic<int> left = 1000, failed = 0;
    const auto work = [&] {
        try {
            while (left-- > 0)
                contexts[server].acquire({.block = true, .timeout = 5s})->command("INCR %s", "hiredis_pool");
        } catch (const std::exception& error) {
            std::cerr << std::string{error.what()} + "\n";
            ++failed;
        }
    };
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back(work);
    workers.clear();
    const Reply total = contexts[server].acquire()->command("GET %s", "hiredis_pool");
    std::cout << "counted to " << (total->str ? total->str : "nothing") << " on " << contexts[server].stats().created
              << " contexts\n";
    contexts[server].acquire()->command("DEL %s", "hiredis_pool");
    return failed == 0 ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << "hiredis_pool: " << error.what() << '\n';
    return 1;
}
