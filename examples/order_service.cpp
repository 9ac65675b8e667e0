// SPDX-License-Identifier: BSD-3-Clause
// A service that takes orders, one from each line of its input, and publishes them from worker threads. No order is
// lost while the broker is away: it is published again until the broker has confirmed it, so it may arrive twice, with
// the same message_id.
//
//     order_service [URL [THREADS]]          default: the embedded broker, four threads
//
// The end of the input, SIGINT and SIGTERM end it: what was taken is still published, for ten seconds at most. What
// could not be published is printed, and the exit code is 1.
#include <kombu/kombu.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

const kombu::Exchange orders{"orders", "topic"};
const kombu::Queue accepted{"orders.accepted", orders, "order.#"};

struct Order {
    std::string id{};
    std::string text{};
};
void to_json(kombu::Json& json, const Order& order) { json = {{"id", order.id}, {"text", order.text}}; }

/// Orders between the input and the workers. A full one makes the input wait.
class Inbox {
public:
    /// False when it is closed.
    bool put(Order order) {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [this] { return is_closed_ || orders_.size() < limit; });
        if (is_closed_) return false;
        orders_.push_back(std::move(order));
        changed_.notify_all();
        return true;
    }
    /// Nothing when it is closed and empty.
    std::optional<Order> take() {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [this] { return is_closed_ || !orders_.empty(); });
        if (orders_.empty()) return std::nullopt;
        Order order = std::move(orders_.front());
        orders_.pop_front();
        changed_.notify_all();
        return order;
    }
    void close() {
        const std::lock_guard lock{mutex_};
        is_closed_ = true;
        changed_.notify_all();
    }

private:
    static constexpr std::size_t limit = 1000;
    std::mutex mutex_{};
    std::condition_variable changed_{};
    std::deque<Order> orders_{};
    bool is_closed_ = false;
};

class Service {
public:
    Service(const kombu::Connection& broker, std::size_t threads) : broker_(broker) {
        // A connection for every two workers: a worker that waits for a confirmation holds one only meanwhile.
        pools::connections.configure(broker, {.limit = std::max<std::size_t>(threads / 2, 1), .name = "orders"});
        for (std::size_t i = 0; i < threads; ++i) workers_.emplace_back([this] { work(); });
    }

    /// False when the service ends.
    bool take(Order order) { return inbox_.put(std::move(order)); }

    /// Publishes what was taken. Returns the orders for which the time did not suffice.
    std::vector<Order> finish(std::chrono::seconds timeout) {
        end_ = kombu::Clock::now() + timeout;
        inbox_.close();
        for (std::thread& worker : workers_) worker.join();
        return std::move(unpublished_);
    }
    std::size_t published() const { return published_; }

private:
    void work() {
        while (const std::optional<Order> order = inbox_.take())
            if (publish(*order))
                ++published_;
            else
                keep(*order);
    }

    /// Tries again until the broker has confirmed the order, or the service ends.
    bool publish(const Order& order) {
        for (;; std::this_thread::sleep_for(200ms)) {
            try {
                auto producer = pools::producers[broker_].acquire({.block = true, .timeout = 5s});
                producer->publish(order, {.exchange = orders,
                                          .routing_key = "order.new",
                                          .declare = {accepted},
                                          .mandatory = true,
                                          .message_id = order.id,
                                          .timeout = 5s});
                if (is_down_.exchange(false)) std::cerr << "the broker is back\n";
                return true;
            } catch (const kombu::Error& error) {
                // Whether it helps to try again: not with a wrong password, nor for an order that cannot be encoded.
                if (!error.is_retryable()) {
                    std::cerr << "order " << order.id << ": " << error.what() << '\n';
                    return false;
                }
                if (!is_down_.exchange(true)) std::cerr << error.what() << "; trying again\n";
            }
            if (kombu::Clock::now() > end_.load()) return false;
        }
    }

    void keep(const Order& order) {
        const std::lock_guard lock{mutex_};
        unpublished_.push_back(order);
    }

    const kombu::Connection broker_;
    Inbox inbox_{};
    std::atomic<kombu::Clock::time_point> end_{kombu::Clock::time_point::max()};
    std::atomic<std::size_t> published_{0};
    std::atomic<bool> is_down_{false};
    std::mutex mutex_{};
    std::vector<Order> unpublished_{};
    std::vector<std::thread> workers_{};
};

}  // namespace

int main(int argc, char** argv) try {
    // Before the first thread: all of them leave the signals to sigwait.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    const auto service = std::make_shared<Service>(kombu::Connection{argc > 1 ? argv[1] : "memory://orders"},
                                                   argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 4);
    // Detached, since reading from a terminal cannot be interrupted.
    std::thread{[service] {
        std::size_t number = 0;
        for (std::string line; std::getline(std::cin, line);)
            if (!service->take({std::to_string(::getpid()) + "-" + std::to_string(++number), line})) return;
        ::kill(::getpid(), SIGTERM);
    }}.detach();

    int signal = 0;
    sigwait(&signals, &signal);
    const std::vector<Order> unpublished = service->finish(10s);
    for (const Order& order : unpublished) std::cout << "not published: " << order.text << '\n';
    std::cout << service->published() << " orders published\n";
    return unpublished.empty() ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << "order_service: " << error.what() << '\n';
    return 1;
}
