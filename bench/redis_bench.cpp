// SPDX-License-Identifier: BSD-3-Clause
// The client's cost of publishing to Redis and of receiving, compared with hiredis sending prebuilt envelopes and the
// same commands. Client and server should share one processor (bench/redis pins them): on two, the wake-ups determine
// every rate.
//
//   redis_bench URL [REPETITIONS]     processor time of the client per message, medians
//   redis_bench URL CASE MESSAGES     one case alone, for counting its system calls (bench/redis)
#include <kombu/kombu.hpp>

#include "processor_time.hpp"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int batch_size = 64;

/// 100 bytes as JSON.
const kombu::Json article = {{"id", 1234567},
                             {"name", "a line of text of some length"},
                             {"price", 12.5},
                             {"tags", {"a", "b", "c"}},
                             {"stock", true}};

struct Case {
    std::string name;
    /// Publishes, or receives, the given number of messages.
    std::function<void(int)> run;
    bool receives = false;
};

class Hiredis {
public:
    explicit Hiredis(int port, std::string envelope)
        : envelope_(std::move(envelope)), context_(::redisConnect("127.0.0.1", port), ::redisFree) {
        if (!context_ || context_->err) throw std::runtime_error("hiredis cannot connect");
    }
    void one_by_one(int messages) {
        const char* words[] = {"LPUSH", "bench.queue", envelope_.data()};
        const std::size_t sizes[] = {5, 11, envelope_.size()};
        for (int i = 0; i < messages; ++i) ::freeReplyObject(::redisCommandArgv(context_.get(), 3, words, sizes));
    }
    void to_exchange(int messages) {
        const char* words[] = {"LPUSH", "bench.queue", envelope_.data()};
        const std::size_t sizes[] = {5, 11, envelope_.size()};
        for (int i = 0; i < messages; ++i) {
            ::redisAppendCommandArgv(context_.get(), 3, words, sizes);
            ::redisAppendCommand(context_.get(), "SMEMBERS _kombu.binding.bench.exchange");
            receive();
            receive();
        }
    }
    /// Receives and acknowledges messages by the commands of `receive`, an EVALSHA of this library.
    void take(int messages, const std::vector<std::string>& receive_command) {
        std::vector<const char*> words;
        std::vector<std::size_t> sizes;
        for (const std::string& word : receive_command) {
            words.push_back(word.data());
            sizes.push_back(word.size());
        }
        for (int i = 0; i < messages; ++i) {
            const std::unique_ptr<void, void (*)(void*)> reply{
                ::redisCommandArgv(context_.get(), static_cast<int>(words.size()), words.data(), sizes.data()),
                ::freeReplyObject};
            const redisReply* const tag = static_cast<const redisReply*>(reply.get())->element[3];
            ::redisAppendCommand(context_.get(), "HDEL unacked %b", tag->str, tag->len);
            ::redisAppendCommand(context_.get(), "ZREM unacked_index %b", tag->str, tag->len);
            receive();
            receive();
        }
    }
    std::vector<std::string> monitor_evalsha(const std::function<void()>& call) {
        command("MONITOR");
        call();
        for (;;) {
            void* reply = nullptr;
            if (::redisGetReply(context_.get(), &reply) != REDIS_OK) throw std::runtime_error("no EVALSHA");
            const std::unique_ptr<void, void (*)(void*)> owner{reply, ::freeReplyObject};
            const std::string line{static_cast<redisReply*>(reply)->str, static_cast<redisReply*>(reply)->len};
            if (line.find("] \"EVALSHA\"") != std::string::npos) return unquote(line.substr(line.find("] ") + 2));
        }
    }
    void in_pipelines(int messages) {
        const char* words[] = {"LPUSH", "bench.queue", envelope_.data()};
        const std::size_t sizes[] = {5, 11, envelope_.size()};
        for (int i = 0; i < messages; i += batch_size) {
            for (int k = 0; k < batch_size; ++k) ::redisAppendCommandArgv(context_.get(), 3, words, sizes);
            for (int k = 0; k < batch_size; ++k) receive();
        }
    }
    void command(const char* text) { ::freeReplyObject(::redisCommand(context_.get(), text)); }
    std::string get(const char* text) {
        const std::unique_ptr<void, void (*)(void*)> reply{::redisCommand(context_.get(), text), ::freeReplyObject};
        const auto* const text_reply = static_cast<const redisReply*>(reply.get());
        return {text_reply->str, text_reply->len};
    }
    void set_envelope(std::string envelope) { envelope_ = std::move(envelope); }

private:
    void receive() {
        void* reply = nullptr;
        ::redisGetReply(context_.get(), &reply);
        ::freeReplyObject(reply);
    }
    /// The words of a line of MONITOR.
    static std::vector<std::string> unquote(const std::string& line) {
        std::vector<std::string> words;
        for (std::size_t at = line.find('"'); at != std::string::npos; at = line.find('"', at + 1)) {
            std::string word;
            while (line.at(++at) != '"') {
                if (line[at] != '\\') {
                    word += line[at];
                } else if (line.at(++at) == 'x') {
                    word += static_cast<char>(std::stoi(line.substr(at + 1, 2), nullptr, 16));
                    at += 2;
                } else {
                    word += line[at];
                }
            }
            words.push_back(std::move(word));
        }
        return words;
    }

    std::string envelope_;
    std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
};

}  // namespace

int main(int argc, char** argv) {
    const std::string url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379/0";
    const kombu::Connection connection{url};
    const kombu::Exchange exchange{"bench.exchange"};
    const kombu::Queue queue{"bench.queue", exchange, "key"};
    const kombu::PublishOptions to_exchange{.exchange = exchange, .routing_key = "key"};
    const kombu::PublishOptions to_queue{.routing_key = "bench.queue"};
    kombu::PublishOptions ready = to_exchange;
    ready.content_type = "application/json";
    ready.content_encoding = "utf-8";
    const std::string text = article.dump();
    kombu::pools::producers[connection].acquire()->maybe_declare(queue);

    kombu::pools::producers[connection].acquire()->publish(article, to_exchange);
    Hiredis hiredis{connection.port(), ""};
    hiredis.set_envelope(hiredis.get("LINDEX bench.queue 0"));

    const auto pooled = [&](const kombu::PublishOptions& options) {
        return [&, options](int messages) {
            for (int i = 0; i < messages; ++i) {
                auto producer = kombu::pools::producers[connection].acquire({.block = true, .timeout = 5s});
                producer->publish(article, options);
            }
        };
    };
    const auto batched = [&](const auto& body, const kombu::PublishOptions& options) {
        return [&, options](int messages) {
            for (int i = 0; i < messages; i += batch_size) {
                auto producer = kombu::pools::producers[connection].acquire({.block = true, .timeout = 5s});
                auto batch = producer->batch();
                for (int k = 0; k < batch_size; ++k) batch.publish(body, options);
                batch.commit(5s);
            }
        };
    };
    kombu::Connection consumer{url};
    auto simple_queue = consumer.simple_queue("bench.queue");
    const auto take = [&](int messages) {
        for (int i = 0; i < messages; ++i) simple_queue.get({.block = false}).ack();
    };
    take(1);
    const std::vector<std::string> receive_command = Hiredis{connection.port(), ""}.monitor_evalsha([&] {
        pooled(to_queue)(1);
        take(1);
    });
    const std::vector<Case> cases{
        {"hiredis, LPUSH", [&](int messages) { hiredis.one_by_one(messages); }},
        {"producers[connection], to a queue", pooled(to_queue)},
        {"hiredis, LPUSH and SMEMBERS", [&](int messages) { hiredis.to_exchange(messages); }},
        {"producers[connection], to an exchange", pooled(to_exchange)},
        {"hiredis, pipelines of 64", [&](int messages) { hiredis.in_pipelines(messages); }},
        {"batches of 64, to an exchange", batched(article, to_exchange)},
        {"batches of 64, to a queue", batched(article, to_queue)},
        {"batches of 64, to an exchange, body ready", batched(text, ready)},
        {"hiredis, receive and acknowledge", [&](int messages) { hiredis.take(messages, receive_command); }, true},
        {"SimpleQueue, receive and acknowledge", take, true},
    };
    const auto fill = [&](int messages) {
        hiredis.command("DEL bench.queue");
        batched(article, to_queue)(messages);
    };
    if (argc > 3) {
        const Case& chosen = cases.at(static_cast<std::size_t>(std::atoi(argv[2])));
        if (chosen.receives) fill(std::atoi(argv[3]));
        chosen.run(std::atoi(argv[3]));
        return 0;
    }

    // With one thread glibc omits locks and atomic counts, which is not representative.
    std::jthread other{[](const std::stop_token& stop) {
        while (!stop.stop_requested()) std::this_thread::sleep_for(50ms);
    }};
    const int repetitions = argc > 2 ? std::atoi(argv[2]) : 7;
    constexpr int messages = 19'200;
    std::vector<std::vector<double>> times(cases.size()), rates(cases.size());
    for (int repetition = 0; repetition <= repetitions; ++repetition) {
        for (std::size_t i = 0; i < cases.size(); ++i) {
            hiredis.command("DEL bench.queue");
            if (cases[i].receives) fill(messages);
            const double before = process_microseconds();
            const auto start = std::chrono::steady_clock::now();
            cases[i].run(messages);
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
            if (repetition == 0) continue;  // warming up
            times[i].push_back((process_microseconds() - before) / messages);
            rates[i].push_back(messages / took.count());
        }
    }
    hiredis.command("DEL bench.queue");
    std::printf("a body of %zu bytes; %d repetitions of %d messages\n", text.size(), repetitions, messages);
    std::printf("%-44s %12s %20s %12s\n", "", "CPU us", "(from - to)", "messages/s");
    for (std::size_t i = 0; i < cases.size(); ++i) {
        std::sort(times[i].begin(), times[i].end());
        std::sort(rates[i].begin(), rates[i].end());
        std::printf("%-44s %12.3f %9.3f - %8.3f %12.0f\n", cases[i].name.c_str(), times[i][times[i].size() / 2],
                    times[i].front(), times[i].back(), rates[i][rates[i].size() / 2]);
    }
    return 0;
}
