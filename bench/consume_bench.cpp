// SPDX-License-Identifier: BSD-3-Clause
// The client's cost of receiving messages of 1 KiB and acknowledging them: on AMQP compared with librabbitmq's
// amqp_consume_message and amqp_basic_ack, from a peer that replays deliveries; on Redis the cost of the server. Client
// and peer should share one processor (bench/consume pins them).
//
//   consume_bench                         processor time of the client per message, medians, and a lone acknowledgement
//   consume_bench CASE MESSAGES           one case alone, for counting its system calls
//   consume_bench redis://... MESSAGES    processor time of the server per message of a backlog
#include <kombu/kombu.hpp>

#include "processor_time.hpp"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <hiredis/hiredis.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "sink.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t prefetch_count = 256, prefetch_of_large = 16;

struct Case {
    std::string name;
    double aim;  // at most so many times librabbitmq; 0: none
    int messages;
    std::function<void(int)> receive;
};

class Librabbitmq {
public:
    Librabbitmq(std::uint16_t port, const char* queue, std::uint16_t prefetch)
        : connection_(::amqp_new_connection(), ::amqp_destroy_connection) {
        amqp_socket_t* const socket = ::amqp_tcp_socket_new(connection_.get());
        if (::amqp_socket_open(socket, "127.0.0.1", port) != 0) throw std::runtime_error("librabbitmq cannot connect");
        ::amqp_login(connection_.get(), "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
        ::amqp_channel_open(connection_.get(), 1);
        ::amqp_basic_qos(connection_.get(), 1, 0, prefetch, 0);
        ::amqp_basic_consume(connection_.get(), 1, ::amqp_cstring_bytes(queue), ::amqp_cstring_bytes("c"), 0, 0, 0,
                             amqp_empty_table);
    }
    void receive(int messages) {
        for (int i = 0; i < messages; ++i) {
            amqp_envelope_t envelope;
            ::amqp_maybe_release_buffers(connection_.get());
            const amqp_rpc_reply_t reply = ::amqp_consume_message(connection_.get(), &envelope, nullptr, 0);
            if (reply.reply_type != AMQP_RESPONSE_NORMAL) throw std::runtime_error("librabbitmq has received nothing");
            ::amqp_basic_ack(connection_.get(), 1, envelope.delivery_tag, 0);
            ::amqp_destroy_envelope(&envelope);
        }
    }

private:
    std::unique_ptr<std::remove_pointer_t<amqp_connection_state_t>, int (*)(amqp_connection_state_t)> connection_;
};

/// A Consumer that acknowledges what it gets.
class Receiver {
public:
    Receiver(const kombu::Connection& broker, kombu::Queue queue, std::uint16_t prefetch, bool auto_declare,
             bool reads_headers = false)
        : connection_(broker),
          consumer_(connection_, {std::move(queue)}, {.prefetch_count = prefetch, .auto_declare = auto_declare}) {
        consumer_.on_message([this, reads_headers](kombu::Message& message) {
            if (reads_headers && message.headers().size() != 14)
                throw std::runtime_error("the headers are not complete");
            message.ack();
            ++received_;
        });
        consumer_.consume();
    }
    void receive(int messages) {
        const int end = received_ + messages;
        while (received_ < end) connection_.drain_events(10s);
    }

private:
    kombu::Connection connection_;
    kombu::Consumer consumer_;
    int received_ = 0;
};

void run_loop(const kombu::Connection& broker, const kombu::Queue& queue, int messages) {
    kombu::ConsumerLoop loop{broker, {queue}, {.consumer = {.prefetch_count = prefetch_count, .auto_declare = false}}};
    std::stop_source stop;
    int received = 0;
    loop.on_message([&](kombu::Message&) {
        if (++received == messages) stop.request_stop();
    });
    loop.run(stop.get_token());
}

void measure(const std::vector<Case>& cases) {
    constexpr int rounds = 7;
    std::vector<std::vector<double>> costs(cases.size());
    for (int round = 0; round <= rounds; ++round)
        for (std::size_t i = 0; i < cases.size(); ++i) {
            const double begin = process_microseconds();
            cases[i].receive(cases[i].messages);
            if (round > 0) costs[i].push_back((process_microseconds() - begin) / cases[i].messages);
        }
    std::printf("%-44s %10s %10s %8s\n", "", "us", "x baseline", "aim");
    double baseline = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        std::ranges::nth_element(costs[i], costs[i].begin() + rounds / 2);
        const double cost = costs[i][rounds / 2];
        if (cases[i].name.starts_with("librabbitmq")) baseline = cost;
        std::printf("%-44s %10.3f %10.2f", cases[i].name.c_str(), cost, cost / baseline);
        if (cases[i].aim != 0)
            std::printf(" %8.2f %6s", cases[i].aim, cost <= cases[i].aim * baseline ? "met" : "missed");
        std::printf("\n");
    }
}

/// With a prefetch count of one the next message comes when the acknowledgement has arrived.
void measure_lone_acknowledgement(const kombu::Connection& broker, const kombu::Queue& queue) {
    Receiver receiver{broker, queue, 1, false};
    receiver.receive(100);
    constexpr int count = 5000;
    std::vector<double> times;
    for (int i = 0; i < count; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        receiver.receive(1);
        times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    }
    std::ranges::sort(times);
    std::printf("a message after its predecessor's acknowledgement: median %.0f us, 99 %% %.0f us, longest %.0f us\n",
                times[count / 2], times[count * 99 / 100], times.back());
}

kombu::Connection connection_to(const Sink& peer) {
    return kombu::Connection{"amqp://127.0.0.1:" + std::to_string(peer.port())};
}

double server_time(redisContext* context) {
    const std::unique_ptr<void, void (*)(void*)> reply{::redisCommand(context, "INFO cpu"), ::freeReplyObject};
    const std::string_view text{static_cast<const redisReply*>(reply.get())->str};
    double seconds = 0;
    for (const std::string_view name : {"used_cpu_sys:", "used_cpu_user:"})
        seconds += std::atof(text.data() + text.find(name) + name.size());
    return seconds * 1e6;
}

int measure_redis(const std::string& url, int messages) {
    const kombu::Connection broker{url};
    kombu::Connection connection{broker};
    kombu::Producer producer{connection};
    const kombu::Queue queue{"bench.consume", {.durable = true}};
    const std::string body(1024, 'x');
    auto batch = producer.batch();
    for (int i = 0; i < messages; ++i) batch.publish(body, {.routing_key = queue.name()});
    batch.commit();
    const std::unique_ptr<redisContext, void (*)(redisContext*)> context{
        ::redisConnect(connection.hostname().c_str(), connection.port()), ::redisFree};
    const double begin = server_time(context.get()), client = process_microseconds();
    {
        Receiver receiver{broker, queue, prefetch_count, false};
        receiver.receive(messages);
    }
    std::printf("Consumer, prefetch %d: server %.1f us a message, client %.1f us\n", prefetch_count,
                (server_time(context.get()) - begin) / messages, (process_microseconds() - client) / messages);
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 2 && std::string_view{arguments[1]}.starts_with("redis"))
        return measure_redis(arguments[1], std::atoi(arguments[2]));
    const Sink source;
    const std::array<Sink, 4> peers_of_large;  // each waits until its client has read all that is in flight
    if (count > 1 && std::string_view{arguments[1]} == "serve") {  // for another client
        std::printf("%d\n", source.port());
        std::fflush(stdout);
        return std::getchar() == EOF ? 0 : 1;
    }
    const kombu::Connection broker = connection_to(source);
    const kombu::Queue queue{"q"};
    Librabbitmq librabbitmq{source.port(), "q", prefetch_count};
    Librabbitmq librabbitmq_of_tasks{source.port(), "celery", prefetch_count};
    Librabbitmq librabbitmq_of_large{peers_of_large[0].port(), "64KiB", prefetch_of_large};
    Librabbitmq librabbitmq_of_huge{peers_of_large[1].port(), "1MiB", prefetch_of_large};
    Receiver receiver{broker, queue, prefetch_count, false};
    Receiver receiver_of_tasks{broker, kombu::Queue{"celery"}, prefetch_count, false};
    Receiver reader_of_tasks{broker, kombu::Queue{"celery"}, prefetch_count, false, true};
    Receiver receiver_of_large{connection_to(peers_of_large[2]), kombu::Queue{"64KiB"}, prefetch_of_large, false};
    Receiver receiver_of_huge{connection_to(peers_of_large[3]), kombu::Queue{"1MiB"}, prefetch_of_large, false};
    const std::vector<Case> cases{
        {"librabbitmq, amqp_consume_message", 0, 40'000, [&](int messages) { librabbitmq.receive(messages); }},
        {"Consumer, drain_events", 0.6, 40'000, [&](int messages) { receiver.receive(messages); }},
        {"ConsumerLoop, one thread", 0, 40'000, [&](int messages) { run_loop(broker, queue, messages); }},
        {"librabbitmq, with 14 headers", 0, 40'000, [&](int messages) { librabbitmq_of_tasks.receive(messages); }},
        {"Consumer, with 14 headers", 0, 40'000, [&](int messages) { receiver_of_tasks.receive(messages); }},
        {"Consumer that reads 14 headers", 0, 40'000, [&](int messages) { reader_of_tasks.receive(messages); }},
        {"librabbitmq, 64 KiB", 0, 2'000, [&](int messages) { librabbitmq_of_large.receive(messages); }},
        {"Consumer, 64 KiB", 0, 2'000, [&](int messages) { receiver_of_large.receive(messages); }},
        {"librabbitmq, 1 MiB", 0, 200, [&](int messages) { librabbitmq_of_huge.receive(messages); }},
        {"Consumer, 1 MiB", 0, 200, [&](int messages) { receiver_of_huge.receive(messages); }}};
    if (count > 2) {
        cases[static_cast<std::size_t>(std::atoi(arguments[1]))].receive(std::atoi(arguments[2]));
        return 0;
    }
    measure(cases);
    measure_lone_acknowledgement(broker, queue);
    return 0;
}
