// SPDX-License-Identifier: BSD-3-Clause
// What a repeated publish allocates. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/messaging_fixture.hpp"

#include <kombu/batch.hpp>
#include <kombu/pools.hpp>

#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <string_view>

namespace {

/// Of this thread.
thread_local long allocations = 0;

void* count_and_allocate(std::size_t size) {
    ++allocations;
    if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc{};
}

}  // namespace

void* operator new(std::size_t size) { return count_and_allocate(size); }
void* operator new[](std::size_t size) { return count_and_allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    ++allocations;
    const auto wanted = static_cast<std::size_t>(alignment);
    if (void* const memory = std::aligned_alloc(wanted, (size + wanted - 1) / wanted * wanted)) return memory;
    throw std::bad_alloc{};
}
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

using namespace kombu;
using namespace std::chrono_literals;

namespace {

const Json article = {{"id", 1234567}, {"title", "a line of text of some length"}, {"tags", {"a", "b"}}};
constexpr std::string_view text = "a text that is longer than what a std::string has room for";

/// A fixture whose exchange and queue exist, and are not declared again.
struct Repeated : Messaging {
    Repeated() {
        producer.publish(article, to_queue());
        queue({.no_ack = true}).get(soon);
    }
    ~Repeated() { pools::reset(); }

    bool on_memory() const { return connection.transport() == "memory"; }
    /// A connection that does not wait for publisher confirms, where there are such.
    Connection unconfirmed() const {
        return Connection{broker_url(), {.transport_options = {{"confirm_publish", false}}}};
    }

    /// The allocations of a hundred calls, once the first calls have filled caches and buffers.
    static long of_hundred(const std::function<void()>& call) {
        for (int i = 0; i < 100; ++i) call();
        const long before = allocations;
        for (int i = 0; i < 100; ++i) call();
        return allocations - before;
    }
    long of_publish(const Connection& to, const auto& body, const PublishOptions& options) const {
        return of_hundred([&] {
            auto pooled = pools::producers[to].acquire({.block = true, .timeout = 5s});
            pooled->publish(body, options);
        });
    }

    /// The memory broker stores the message: its body and a record. Redis answers with the members of a set when the
    /// message goes to an exchange.
    long allowed_to_exchange() const { return on_redis() ? 200 : allowed_to_queue(); }
    /// Blocks of its queue's std::deque come in addition.
    long allowed_to_queue() const { return on_memory() ? 220 : 0; }
};

}  // namespace

TEST_CASE_METHOD(Repeated, "an acquire from the pools allocates nothing", "[allocation]") {
    CHECK(of_hundred([&] { (void)pools::connections[connection].acquire({.block = true}); }) == 0);
    CHECK(of_hundred([&] { (void)pools::producers[connection].acquire({.block = true, .timeout = 5s}); }) == 0);
}

TEST_CASE_METHOD(Repeated, "a repeated publish allocates nothing, except what its broker stores or answers",
                 "[allocation]") {
    const PublishOptions to_exchange{.exchange = topology.exchange, .routing_key = "key"};
    const PublishOptions to_default{.routing_key = topology.queue.name()};
    const PublishOptions with_headers{.exchange = topology.exchange,
                                      .routing_key = "key",
                                      .headers = {{"tenant", "a name of some length"}},
                                      .message_id = "a name of some length"};
    for (const Connection& to : {connection, unconfirmed()}) {
        CHECK(of_publish(to, article, to_default) <= allowed_to_queue());
        CHECK(of_publish(to, text, to_default) <= allowed_to_queue());
        CHECK(of_publish(to, article, to_exchange) <= allowed_to_exchange());
        CHECK(of_publish(to, text, to_exchange) <= allowed_to_exchange());
        CHECK(of_publish(to, article, with_headers) <= allowed_to_exchange());
        CHECK(of_publish(to, article, to_queue()) <= allowed_to_exchange());
    }
}

TEST_CASE_METHOD(Repeated, "a batch allocates for itself, and not for each of its messages", "[allocation]") {
    if (on_memory()) return;  // it stores each message
    const PublishOptions options{.exchange = topology.exchange, .routing_key = "key"};
    const auto of_batch = [&](int messages) {
        return of_hundred([&] {
            auto pooled = pools::producers[connection].acquire({.block = true, .timeout = 5s});
            auto batch = pooled->batch();
            for (int i = 0; i < messages; ++i) batch.publish(article, options);
            batch.commit();
        });
    };
    // Vectors and buffers grow some times more.
    const long few = of_batch(32), many = of_batch(256);
    CAPTURE(few, many);
    CHECK(few < 50 * 100);
    CHECK(many < few + 30 * 100);
}
