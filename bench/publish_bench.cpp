// SPDX-License-Identifier: BSD-3-Clause
// The client's cost of publishing over AMQP, compared with librabbitmq's amqp_basic_publish, to a peer that discards
// the messages; and that of a cycle of the pools, compared with an uncontended mutex. Client and peer should share one
// processor (bench/publish pins them).
//
//   publish_bench                  processor time of the client per message, medians, and the messages a second
//   publish_bench CASE MESSAGES    one case alone, for counting its instructions and system calls
//   publish_bench serve            prints the port of a peer for another client
#include <kombu/kombu.hpp>

#include "processor_time.hpp"

#include <amqp.h>
#include <amqp_tcp_socket.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include "sink.hpp"

using namespace std::chrono_literals;

namespace {

constexpr int window = 256;

struct Case {
    std::string name;
    int baseline;  // the case that it is compared with
    double aim;    // at most so many times the baseline; 0: none
    int messages;
    std::function<void(int)> publish;
};

/// As long as a UUID.
std::string id_of(int message) {
    std::string id = std::to_string(message);
    return id.insert(0, 36 - id.size(), '0');
}

class Librabbitmq {
public:
    Librabbitmq(std::uint16_t port, bool confirms)
        : connection_(::amqp_new_connection(), ::amqp_destroy_connection), confirms_(confirms) {
        amqp_socket_t* const socket = ::amqp_tcp_socket_new(connection_.get());
        if (::amqp_socket_open(socket, "127.0.0.1", port) != 0) throw std::runtime_error("librabbitmq cannot connect");
        ::amqp_login(connection_.get(), "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
        ::amqp_channel_open(connection_.get(), 1);
        if (confirms) ::amqp_confirm_select(connection_.get(), 1);
    }

    /// `ahead`: the number of messages that may be unconfirmed.
    void publish(const std::string& body, const char* content_type, int messages, std::uint64_t ahead) {
        amqp_basic_properties_t properties = properties_of(content_type);
        for (int i = 0; i < messages; ++i) {
            send(body, properties);
            ++published_;
            while (confirms_ && published_ - confirmed_ >= ahead) await_confirm();
        }
        while (confirms_ && confirmed_ < published_) await_confirm();
    }

    /// Each message has an id of its own, and headers if `with_headers` is set.
    void publish_with_ids(const std::string& body, int messages, bool with_headers) {
        amqp_basic_properties_t properties = properties_of("text/plain");
        properties._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        const char* const names[] = {"trace", "tenant", "attempt"};
        amqp_table_entry_t headers[3];
        for (std::size_t i = 0; i < 3; ++i) headers[i] = {::amqp_cstring_bytes(names[i]), {AMQP_FIELD_KIND_UTF8, {}}};
        headers[1].value.value.bytes = ::amqp_cstring_bytes("acme");
        headers[2].value.kind = AMQP_FIELD_KIND_I32;
        for (int i = 0; i < messages; ++i) {
            const std::string id = id_of(i);
            properties.message_id = {id.size(), const_cast<char*>(id.data())};
            if (with_headers) {
                headers[0].value.value.bytes = properties.message_id;
                headers[2].value.value.i32 = i;
                properties._flags |= AMQP_BASIC_HEADERS_FLAG;
                properties.headers = {3, headers};
            }
            send(body, properties);
        }
    }

    void close() {
        ::amqp_channel_close(connection_.get(), 1, AMQP_REPLY_SUCCESS);
        ::amqp_connection_close(connection_.get(), AMQP_REPLY_SUCCESS);
    }

private:
    static amqp_basic_properties_t properties_of(const char* content_type) {
        amqp_basic_properties_t properties{};
        properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
                            AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG;
        properties.content_type = ::amqp_cstring_bytes(content_type);
        properties.content_encoding = ::amqp_cstring_bytes("utf-8");
        properties.delivery_mode = 2;
        return properties;
    }
    void send(const std::string& body, const amqp_basic_properties_t& properties) {
        ::amqp_basic_publish(connection_.get(), 1, amqp_empty_bytes, ::amqp_cstring_bytes("bench"), 0, 0, &properties,
                             {body.size(), const_cast<char*>(body.data())});
    }
    void await_confirm() {
        amqp_frame_t frame;
        if (::amqp_simple_wait_frame(connection_.get(), &frame) != AMQP_STATUS_OK)
            throw std::runtime_error("librabbitmq has received nothing");
        if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            const auto* const ack = static_cast<const amqp_basic_ack_t*>(frame.payload.method.decoded);
            confirmed_ = ack->multiple != 0 ? ack->delivery_tag : std::max(confirmed_, ack->delivery_tag);
        }
        ::amqp_maybe_release_buffers(connection_.get());
    }

    std::unique_ptr<std::remove_pointer_t<amqp_connection_state_t>, int (*)(amqp_connection_state_t)> connection_;
    const bool confirms_;
    std::uint64_t published_ = 0, confirmed_ = 0;
};

/// Publishes as a service does: each message by a producer of the pool.
template <class Body>
void publish(const kombu::Connection& broker, const Body& body, int messages) {
    for (int i = 0; i < messages; ++i)
        kombu::pools::producers[broker]
            .acquire({.block = true, .timeout = 5s})
            ->publish(body, {.routing_key = "bench"});
}

/// The options of a message with an id of its own, as most services send it.
kombu::PublishOptions options_with_id(int message, bool with_headers) {
    kombu::PublishOptions options{.routing_key = "bench", .message_id = id_of(message)};
    if (with_headers) options.headers = {{"trace", *options.message_id}, {"tenant", "acme"}, {"attempt", message}};
    return options;
}

void publish_with_ids(const kombu::Connection& broker, const std::string& body, int messages, bool with_headers) {
    for (int i = 0; i < messages; ++i)
        kombu::pools::producers[broker]
            .acquire({.block = true, .timeout = 5s})
            ->publish(body, options_with_id(i, with_headers));
}

template <class Body>
void publish_batches(const kombu::Connection& broker, const Body& body, int messages, int size, bool with_ids = false) {
    for (int sent = 0; sent < messages; sent += size) {
        auto producer = kombu::pools::producers[broker].acquire({.block = true, .timeout = 5s});
        kombu::Batch batch = producer->batch();
        for (int i = 0; i < size; ++i) {
            if (with_ids)
                batch.publish(body, options_with_id(sent + i, false));
            else
                batch.publish(body, {.routing_key = "bench"});
        }
        batch.commit();
    }
}

void connect_librabbitmq(std::uint16_t port, int connections) {
    for (int i = 0; i < connections; ++i) Librabbitmq{port, false}.close();
}
/// Each opens a channel.
void connect(const std::string& url, int connections) {
    for (int i = 0; i < connections; ++i) {
        kombu::Connection connection{url, {.transport_options = {{"confirm_publish", false}}}};
        (void)connection.channel();
        connection.release();
    }
}

/// What the kernel takes: sends as many bytes as a message takes, and does nothing else.
class BareSend {
public:
    explicit BareSend(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error("cannot connect");
        const int on = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        send_all("RAW.....");
    }
    BareSend(const BareSend&) = delete;
    BareSend& operator=(const BareSend&) = delete;
    ~BareSend() { ::close(socket_); }

    void send(std::size_t body_size, int messages) {
        constexpr std::size_t frames = 71;  // the bytes around the body
        const std::string message(frames + body_size, 'x');
        for (int i = 0; i < messages; ++i) send_all(message);
    }

private:
    void send_all(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent < 0) throw std::runtime_error("cannot send");
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    int socket_;
};

/// Acquires and releases.
template <class Group>
void cycle(Group& group, const kombu::Connection& broker, int cycles) {
    for (int i = 0; i < cycles; ++i) (void)group[broker].acquire({.block = true, .timeout = 5s});
}

/// The same on this many threads.
template <class Group>
void cycle_on_threads(Group& group, const kombu::Connection& broker, int cycles, int count) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back([&] { cycle(group, broker, cycles / count); });
    for (std::thread& thread : threads) thread.join();
}

void lock_and_unlock(int cycles) {
    static std::mutex mutex;
    for (int i = 0; i < cycles; ++i) {
        mutex.lock();
        mutex.unlock();
    }
}

void measure(const std::vector<Case>& cases) {
    constexpr int rounds = 7;
    std::vector<std::vector<double>> costs(cases.size());
    std::vector<double> rates(cases.size());
    for (int round = 0; round <= rounds; ++round)
        for (std::size_t i = 0; i < cases.size(); ++i) {
            const double begin = process_microseconds();
            const auto begun = std::chrono::steady_clock::now();
            cases[i].publish(cases[i].messages);
            const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begun;
            rates[i] = std::max(rates[i], cases[i].messages / taken.count());
            if (round > 0) costs[i].push_back((process_microseconds() - begin) / cases[i].messages);
        }
    std::printf("%-44s %10s %10s %8s %6s %12s\n", "", "us", "x baseline", "aim", "", "a second");
    for (auto& samples : costs) std::ranges::nth_element(samples, samples.begin() + rounds / 2);
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const double cost = costs[i][rounds / 2];
        const double ratio = cost / costs[static_cast<std::size_t>(cases[i].baseline)][rounds / 2];
        if (cases[i].aim == 0)
            std::printf("%-44s %10.3f %10.2f %8s %6s %12.0f\n", cases[i].name.c_str(), cost, ratio, "", "", rates[i]);
        else
            std::printf("%-44s %10.3f %10.2f %8.2f %6s %12.0f\n", cases[i].name.c_str(), cost, ratio, cases[i].aim,
                        ratio <= cases[i].aim ? "met" : "missed", rates[i]);
    }
}

}  // namespace

int main(int count, char** arguments) {
    std::thread{[] {}}.join();  // glibc omits locks and atomics until the process has had a second thread
    const Sink sink;
    if (count > 1 && std::string_view{arguments[1]} == "serve") {
        std::printf("%d\n", sink.port());
        std::fflush(stdout);
        return std::getchar() == EOF ? 0 : 1;
    }
    const std::string url = "amqp://127.0.0.1:" + std::to_string(sink.port());
    const kombu::Connection plain{url, {.transport_options = {{"confirm_publish", false}}}};
    const kombu::Connection confirming{url};
    const kombu::Connection memory{"memory://bench"};
    Librabbitmq rabbit{sink.port(), false}, rabbit_confirming{sink.port(), true};
    BareSend bare{sink.port()};
    const std::string text(100, 'x'), kib(1024, 'x'), large(65536, 'x'), huge(8 << 20, 'x');
    const kombu::Json json = {{"id", 123456}, {"name", "domestic"}, {"body", std::string(58, 'x')}};
    const std::string json_text = json.dump();
    const kombu::Json small = {{"n", 1}};

    const std::vector<Case> cases{
        {"librabbitmq, 100 B", 0, 0, 40'000, [&](int n) { rabbit.publish(text, "text/plain", n, 1); }},
        {"text of 100 B", 0, 0.4, 40'000, [&](int n) { publish(plain, text, n); }},
        {"a JSON object of 100 B", 0, 0.5, 40'000, [&](int n) { publish(plain, json, n); }},
        {"librabbitmq, 1 KiB", 3, 0, 40'000, [&](int n) { rabbit.publish(kib, "text/plain", n, 1); }},
        {"text of 1 KiB", 3, 0.4, 40'000, [&](int n) { publish(plain, kib, n); }},
        {"librabbitmq, 64 KiB", 5, 0, 2'000, [&](int n) { rabbit.publish(large, "text/plain", n, 1); }},
        {"text of 64 KiB", 5, 0.95, 2'000, [&](int n) { publish(plain, large, n); }},
        {"batches of 64, text of 100 B", 0, 0.06, 64'000, [&](int n) { publish_batches(plain, text, n, 64); }},
        {"batches of 64, JSON of 100 B", 0, 0.15, 64'000, [&](int n) { publish_batches(plain, json, n, 64); }},
        {"librabbitmq, 100 B, waiting for each", 9, 0, 10'000,
         [&](int n) { rabbit_confirming.publish(json_text, "application/json", n, 1); }},
        {"confirmed one by one, JSON of 100 B", 9, 0.7, 10'000, [&](int n) { publish(confirming, json, n); }},
        {"librabbitmq, 100 B, window of 256", 11, 0, 51'200,
         [&](int n) { rabbit_confirming.publish(json_text, "application/json", n, window); }},
        {"confirmed in batches of 256, JSON of 100 B", 11, 0.15, 51'200,
         [&](int n) { publish_batches(confirming, json, n, window); }},
        {"mutex, lock and unlock", 13, 0, 2'000'000, lock_and_unlock},
        {"pools::connections, acquire and release", 13, 1.15, 400'000,
         [&](int n) { cycle(kombu::pools::connections, memory, n); }},
        {"pools::producers, acquire and release", 13, 2.5, 400'000,
         [&](int n) { cycle(kombu::pools::producers, memory, n); }},
        {"small JSON to the memory broker", 13, 12, 40'000, [&](int n) { publish(memory, small, n); }},
        {"librabbitmq, connecting, a channel, closing", 17, 0, 1'000,
         [&](int n) { connect_librabbitmq(sink.port(), n); }},
        {"connecting, a channel, closing", 17, 1.0, 1'000, [&](int n) { connect(url, n); }},
        {"send(2) alone, 100 B", 0, 0, 40'000, [&](int n) { bare.send(text.size(), n); }},
        {"send(2) alone, 1 KiB", 3, 0, 40'000, [&](int n) { bare.send(kib.size(), n); }},
        {"send(2) alone, 64 KiB", 5, 0, 2'000, [&](int n) { bare.send(large.size(), n); }},
        {"pools::producers on 16 threads", 15, 1.1, 3'200'000,
         [&](int n) { cycle_on_threads(kombu::pools::producers, memory, n, 16); }},
        {"librabbitmq, 100 B, ids of their own", 23, 0, 40'000,
         [&](int n) { rabbit.publish_with_ids(text, n, false); }},
        {"text of 100 B, ids of their own", 23, 0, 40'000, [&](int n) { publish_with_ids(plain, text, n, false); }},
        {"batches of 64, ids of their own", 23, 0, 64'000, [&](int n) { publish_batches(plain, text, n, 64, true); }},
        {"librabbitmq, 100 B, ids and 3 headers", 26, 0, 40'000,
         [&](int n) { rabbit.publish_with_ids(text, n, true); }},
        {"text of 100 B, ids and 3 headers", 26, 0, 40'000, [&](int n) { publish_with_ids(plain, text, n, true); }},
        {"librabbitmq, 8 MiB", 28, 0, 40, [&](int n) { rabbit.publish(huge, "text/plain", n, 1); }},
        {"text of 8 MiB", 28, 0, 40, [&](int n) { publish(plain, huge, n); }},
    };
    if (count > 2) {
        cases[static_cast<std::size_t>(std::atoi(arguments[1]))].publish(std::atoi(arguments[2]));
        return 0;
    }
    measure(cases);
    return 0;
}
