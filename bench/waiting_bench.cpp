// SPDX-License-Identifier: BSD-3-Clause
// Consumers that wait for messages of one queue on Redis, each a process of its own: what a message costs the server,
// how late it arrives, and how evenly messages are shared. Compared with BRPOP and the bookkeeping of Kombu in Python,
// by hiredis.
//
//   waiting_bench URL [SECONDS [CONSUMERS...]]     steady traffic (200 messages a second), idle time, and a burst
#include <kombu/kombu.hpp>

#include <hiredis/hiredis.h>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int rate = 200, burst = 3'000, max_consumers = 256, max_samples = 1 << 16;
constexpr const char* queue = "bench.waiting";

std::int64_t now_ns() { return Clock::now().time_since_epoch().count(); }

/// Shared with the consumers.
struct Shared {
    std::atomic<int> ready{0}, received{0}, samples{0};
    std::atomic<bool> measure{false};
    std::atomic<int> by_consumer[max_consumers];
    std::int64_t latency[max_samples];

    void count(int consumer, std::int64_t sent) {
        if (measure) {
            ++by_consumer[consumer];
            if (const int at = samples++; at < max_samples) latency[at] = now_ns() - sent;
        }
    }
};

class Redis {
public:
    explicit Redis(int port) : context_(::redisConnect("127.0.0.1", port), ::redisFree) {
        if (!context_ || context_->err) throw std::runtime_error("hiredis cannot connect");
    }
    using Reply = std::unique_ptr<redisReply, void (*)(void*)>;
    Reply operator()(const std::vector<std::string>& words) {
        send(words);
        return receive();
    }
    void send(const std::vector<std::string>& words) {
        std::vector<const char*> data;
        std::vector<std::size_t> sizes;
        for (const std::string& word : words) {
            data.push_back(word.data());
            sizes.push_back(word.size());
        }
        ::redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), data.data(), sizes.data());
    }
    Reply receive() {
        void* reply = nullptr;
        if (::redisGetReply(context_.get(), &reply) != REDIS_OK) throw std::runtime_error("Redis has gone");
        return {static_cast<redisReply*>(reply), ::freeReplyObject};
    }
    /// The sum of the fields of INFO with that prefix.
    double info(const char* section, const std::string& prefix) {
        const auto reply = (*this)({"INFO", section});
        const std::string text{reply->str, reply->len};
        double sum = 0;
        for (std::size_t at = text.find('\n' + prefix); at != std::string::npos; at = text.find('\n' + prefix, at + 1))
            sum += std::atof(text.c_str() + text.find(':', at) + 1);
        return sum;
    }
    double processor_us() { return 1e6 * (info("cpu", "used_cpu_sys:") + info("cpu", "used_cpu_user:")); }

private:
    std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
};

void consume_with_kombu(const std::string& url, Shared& shared, int consumer) {
    kombu::Connection connection{url};
    auto from = connection.simple_queue(queue);
    ++shared.ready;
    for (;;) {
        try {
            kombu::Message message = from.get({.timeout = 3600s});
            shared.count(consumer, message.payload().get<std::int64_t>());
            message.ack();
            ++shared.received;
        } catch (const kombu::Empty&) {
        }
    }
}

std::int64_t sent_at(const kombu::Json& envelope) {
    std::string text;
    unsigned bits = 0, count = 0;
    static const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (const char c : envelope.at("body").get<std::string>()) {
        if (c == '=') break;
        bits = bits << 6U | static_cast<unsigned>(alphabet.find(c));
        if (++count % 4 != 1) text += static_cast<char>(bits >> (6 - 2 * ((count - 1) % 4)) & 0xffU);
    }
    return std::atoll(text.c_str());
}

/// As Kombu 5.2: BRPOP, a transaction that records the message, a transaction that acknowledges it.
void consume_with_brpop(int port, Shared& shared, int consumer) {
    Redis redis{port};
    const std::string name{queue}, step = "\x06\x16";
    ++shared.ready;
    for (;;) {
        const auto reply = redis({"BRPOP", name, name + step + "3", name + step + "6", name + step + "9", "1"});
        if (reply->type != REDIS_REPLY_ARRAY) continue;
        const std::string item{reply->element[1]->str, reply->element[1]->len};
        const kombu::Json envelope = kombu::Json::parse(item);
        const std::string tag = envelope.at("properties").at("delivery_tag");
        redis.send({"MULTI"});
        redis.send({"ZADD", "unacked_index", std::to_string(::time(nullptr)), tag});
        redis.send({"HSET", "unacked", tag, "[" + item + ", \"\", \"" + name + "\"]"});
        redis.send({"EXEC"});
        for (int i = 0; i < 4; ++i) redis.receive();
        shared.count(consumer, sent_at(envelope));
        redis.send({"MULTI"});
        redis.send({"ZREM", "unacked_index", tag});
        redis.send({"HDEL", "unacked", tag});
        redis.send({"EXEC"});
        for (int i = 0; i < 4; ++i) redis.receive();
        ++shared.received;
    }
}

void wait_for(const std::function<bool()>& condition) {
    const auto until = Clock::now() + 2min;
    while (!condition()) {
        if (Clock::now() > until) throw std::runtime_error("the consumers do not receive all messages");
        std::this_thread::sleep_for(1ms);
    }
}

void run(const std::string& url, int port, bool brpop, int consumers, int seconds) {
    Redis redis{port};
    redis({"FLUSHALL"});
    auto* const shared =
        new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
    std::vector<pid_t> children;
    for (int i = 0; i < consumers; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            try {
                brpop ? consume_with_brpop(port, *shared, i) : consume_with_kombu(url, *shared, i);
            } catch (const std::exception& error) {
                std::fprintf(stderr, "%s\n", error.what());
            }
            ::_exit(1);
        }
        children.push_back(child);
    }
    wait_for([&] { return shared->ready == consumers; });
    kombu::Connection connection{url};
    kombu::Producer producer{connection};
    const auto publish = [&](int messages) {
        auto next = Clock::now();
        for (int i = 0; i < messages; ++i) {
            std::this_thread::sleep_until(next += 1'000'000us / rate);
            producer.publish(now_ns(), {.routing_key = queue});
        }
    };
    publish(3 * rate);  // warming up

    shared->measure = true;
    double commands = redis.info("stats", "total_commands_processed:"), processor = redis.processor_us();
    publish(seconds * rate);
    processor = redis.processor_us() - processor;
    commands = redis.info("stats", "total_commands_processed:") - commands - 3;
    shared->measure = false;
    const double messages = seconds * rate;
    std::vector<std::int64_t> latency(shared->latency, shared->latency + std::min(shared->samples.load(), max_samples));
    std::sort(latency.begin(), latency.end());
    const auto percentile = [&](double share) {
        return static_cast<double>(latency[static_cast<std::size_t>(share * static_cast<double>(latency.size() - 1))]) /
               1e3;
    };
    int least = shared->by_consumer[0];
    for (int i = 0; i < consumers; ++i) least = std::min(least, shared->by_consumer[i].load());

    std::this_thread::sleep_for(10s);
    constexpr int idle_seconds = 10;
    double idle = redis.info("stats", "total_commands_processed:");
    std::this_thread::sleep_for(std::chrono::seconds{idle_seconds});
    idle = redis.info("stats", "total_commands_processed:") - idle - 1;

    const int before = shared->received;
    {
        kombu::Batch batch = producer.batch();
        for (int i = 0; i < burst; ++i) batch.publish(now_ns(), {.routing_key = queue});
        batch.commit(10s);
    }
    const auto start = Clock::now();
    const double burst_start = redis.processor_us();
    wait_for([&] { return shared->received - before >= burst; });
    const double burst_cost = (redis.processor_us() - burst_start) / burst;
    const double drained = burst / std::chrono::duration<double>(Clock::now() - start).count();
    for (const pid_t child : children) ::kill(child, SIGKILL);
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);
    std::printf("%-6s %9d %12.1f %12.1f %10.0f %10.0f %10.0f %12.2f %12.2f %12.0f %9.0f\n", brpop ? "BRPOP" : "kombu",
                consumers, processor / messages, commands / messages, percentile(0.5), percentile(0.9),
                percentile(0.99), least / (messages / consumers), idle / idle_seconds / consumers, drained, burst_cost);
    std::fflush(stdout);
    ::munmap(shared, sizeof(Shared));
}

}  // namespace

int main(int argc, char** argv) {
    const std::string url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379/0";
    const int port = kombu::Connection{url}.port();
    const int seconds = argc > 2 ? std::atoi(argv[2]) : 30;
    std::vector<int> counts;
    for (int i = 3; i < argc; ++i) counts.push_back(std::min(std::atoi(argv[i]), max_consumers));
    if (counts.empty()) counts = {1, 10, 50, 100};
    std::printf("%d messages a second for %d s; a burst of %d messages\n", rate, seconds, burst);
    std::printf("%-6s %9s %12s %12s %10s %10s %10s %12s %12s %12s %9s\n", "", "consumers", "server us", "commands",
                "median us", "90 %", "99 %", "least/mean", "idle cmd/s", "burst msg/s", "server us");
    for (const int consumers : counts)
        for (const bool brpop : {true, false}) run(url, port, brpop, consumers, seconds);
    return 0;
}
