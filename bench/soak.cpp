// SPDX-License-Identifier: BSD-3-Clause
// Endurance: threads that use the pools as a service does, with provoked errors, for as long as one likes.
//
//   soak URL [SECONDS [THREADS [RESTART-COMMAND]]]
//
// Each thread acquires a producer, publishes, gets and acknowledges; one round in a hundred goes wrong on purpose: an
// exchange that does not exist, a message that is not settled, an exception during a lease, a discarded lease, a
// timeout of a millisecond. Meanwhile a thread resets the pools, changes the limit and erases a pool every second, and
// calls RESTART-COMMAND every minute. The heap in use, descriptors and threads are sampled at rest: at the end they
// must be what they were after the warm-up (half of the time, at most a minute), memory within 1 % and 128 KiB. Then
// the queue is emptied. Exits with 1 when something has grown, or a confirmed message never arrived. On Redis a message
// whose consumer was interrupted comes back after its visibility timeout: a short one belongs into the URL,
// ?visibility_timeout=3&unacked_restore_interval=1.
#include <kombu/kombu.hpp>

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

struct Sample {
    long heap_kib = 0, memory_kib = 0, descriptors = 0, threads = 0;
};

long status_value(const std::string& name) {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
        if (line.rfind(name + ":", 0) == 0) return std::atol(line.c_str() + name.size() + 1);
    return 0;
}

Sample take_sample() {
    ::malloc_trim(0);
    Sample sample{.heap_kib = static_cast<long>(::mallinfo2().uordblks / 1024),
                  .memory_kib = status_value("RssAnon"),
                  .threads = status_value("Threads")};
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"})
        ++sample.descriptors;
    return sample;
}

/// The messages that were published and not received yet. Its memory is used from the beginning: what is left in the
/// queue after a kill of the broker is no leak.
class Outstanding {
public:
    Outstanding() : states_(max_messages) {
        for (auto& state : states_) state = unknown;
    }
    void add(std::int64_t number) { at(number) = published; }
    void confirm(std::int64_t number) {
        State expected = published;
        at(number).compare_exchange_strong(expected, confirmed);
    }
    /// Received, or not published after all.
    void remove(std::int64_t number) { at(number) = unknown; }
    std::size_t confirmed_count() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(states_, [](const auto& state) { return state == confirmed; }));
    }

private:
    static constexpr std::size_t max_messages = 1 << 24;
    enum State : std::uint8_t { unknown, published, confirmed };
    std::atomic<State>& at(std::int64_t number) { return states_.at(static_cast<std::size_t>(number)); }

    std::vector<std::atomic<State>> states_;
};

class Soak {
public:
    Soak(const std::string& url, unsigned threads) : broker_(url), queue_(name("queue")) {
        // A group keeps the last pools that were erased: from the beginning as many as there will be.
        for (int i = 0; i < 100; ++i) {
            std::vector<Lease<Producer>> leases;
            for (unsigned k = 0; k < threads; ++k) leases.push_back(pools::producers[broker_].acquire());
            leases.clear();
            pools::producers.erase(broker_);
            pools::connections.erase(broker_);
        }
        for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
    }
    Soak(const Soak&) = delete;
    Soak& operator=(const Soak&) = delete;
    ~Soak() { stop(); }

    void stop() {
        done_ = true;
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }
    /// Something that happens to pools in a service.
    void disturb(unsigned number) {
        switch (number % 4) {
            case 0: pools::reset(); break;
            case 1: pools::set_limit(4 + number % 8, {.ignore_errors = true}); break;
            case 2: pools::producers.erase(broker_); break;
            case 3: pools::connections.erase(broker_); break;
        }
    }
    /// Receives what is left.
    /// \return the number of confirmed messages that never arrived
    std::size_t count_lost() {
        Connection connection = broker_;
        auto from = connection.simple_queue(queue_, {.no_ack = true});
        try {
            for (;;) outstanding_.remove(from.get({.timeout = 6s}).payload().at("n").get<std::int64_t>());
        } catch (const Empty&) {
        }
        return outstanding_.confirmed_count();
    }
    std::uint64_t rounds() const { return rounds_; }
    std::uint64_t provoked() const { return provoked_; }
    std::uint64_t failed() const { return failed_; }

    /// The process while no thread uses the pools, and the pools are empty.
    Sample sample_at_rest() {
        paused_ = true;
        while (busy_ != 0) std::this_thread::sleep_for(1ms);
        pools::reset();
        const Sample sample = take_sample();
        paused_ = false;
        return sample;
    }

private:
    class Busy {
    public:
        explicit Busy(Soak& soak) : soak_(soak) { ++soak_.busy_; }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;
        ~Busy() { --soak_.busy_; }

    private:
        Soak& soak_;
    };

    static std::string name(const std::string& kind) { return "soak." + kind; }

    void work(unsigned seed) {
        std::minstd_rand random{seed + 1};
        while (!done_) {
            if (paused_) {
                std::this_thread::sleep_for(1ms);
                continue;
            }
            const Busy busy{*this};
            if (paused_) continue;
            try {
                round(random() % 100 == 0 ? static_cast<unsigned>(1 + random() % 5) : 0);
            } catch (const std::exception&) {
                ++failed_;
            }
            ++rounds_;
        }
    }
    static void publish_in_vain(Producer& producer) try {
        producer.publish(1, {.exchange = Exchange{"soak no such exchange", "direct", {.no_declare = true}}});
    } catch (const ChannelError&) {
    }
    void round(unsigned mistake) {
        provoked_ += mistake != 0 ? 1 : 0;
        {
            auto producer = pools::producers[broker_].acquire({.block = true, .timeout = 5s});
            if (mistake == 1) publish_in_vain(*producer);
            if (mistake == 2) throw std::runtime_error("of the application");
            if (mistake == 3) return producer.discard();
            if (mistake == 4)
                producer->publish(std::string(100'000, 'x'), {.routing_key = name("nobody"), .timeout = 1ms});
            const std::int64_t number = ++next_;
            outstanding_.add(number);
            try {
                producer->publish(Json{{"n", number}},
                                  {.routing_key = queue_.name(), .declare = {queue_}, .timeout = 5s});
            } catch (...) {
                outstanding_.remove(number);
                throw;
            }
            outstanding_.confirm(number);
        }
        auto connection = pools::connections[broker_].acquire({.block = true, .timeout = 5s});
        SimpleQueue from = connection->simple_queue(queue_);
        Message message = from.get({.timeout = 5s});
        outstanding_.remove(message.payload().at("n").get<std::int64_t>());
        if (mistake == 5) return;  // goes back to the queue
        message.ack();
        if (mistake != 1) return;
        // As many as went back.
        try {
            Message further = from.get_nowait();
            outstanding_.remove(further.payload().at("n").get<std::int64_t>());
            further.ack();
        } catch (const Empty&) {
        }
    }

    const Connection broker_;
    const Queue queue_;
    std::atomic<bool> done_{false}, paused_{false};
    std::atomic<int> busy_{0};
    std::atomic<std::uint64_t> rounds_{0}, provoked_{0}, failed_{0};
    std::atomic<std::int64_t> next_{0};
    Outstanding outstanding_;
    std::vector<std::thread> threads_;
};

bool is_flat(const char* what, long before, long after, long allowed) {
    const bool flat = std::abs(after - before) <= allowed;
    std::printf("%-12s %8ld after the warm-up, %8ld at the end: %s\n", what, before, after, flat ? "flat" : "NOT flat");
    return flat;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) {
        std::fprintf(stderr, "usage: soak URL [SECONDS [THREADS [RESTART-COMMAND]]]\n");
        return 2;
    }
    const double seconds = count > 2 ? std::atof(arguments[2]) : 600;
    const unsigned threads = count > 3 ? static_cast<unsigned>(std::atoi(arguments[3])) : 8;
    const std::string restart = count > 4 ? arguments[4] : "";
    const auto warm_up = std::chrono::duration<double>(std::min(seconds / 2, 60.0));
    const auto begin = Clock::now();
    const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - begin); };

    Soak soak{arguments[1], threads};
    Sample before;
    bool warm = false;
    for (unsigned tick = 0; passed().count() < seconds; ++tick) {
        std::this_thread::sleep_for(200ms);
        if (tick % 5 == 0) soak.disturb(tick / 5);
        if (!warm && passed() >= warm_up) {
            before = soak.sample_at_rest();
            warm = true;
        }
        if (!restart.empty() && tick % 300 == 299 && std::system(restart.c_str()) != 0) return 2;
        if (tick % 50 == 0) {
            const Sample now = take_sample();
            std::printf("%6.1f s: %9llu rounds, heap %ld KiB, memory %ld KiB, %ld descriptors, %ld threads\n",
                        passed().count(), static_cast<unsigned long long>(soak.rounds()), now.heap_kib, now.memory_kib,
                        now.descriptors, now.threads);
            std::fflush(stdout);
        }
    }
    const Sample after = soak.sample_at_rest();
    soak.stop();
    pools::reset();
    const std::size_t lost = soak.count_lost();
    std::printf("%llu rounds, %llu of them provoked errors, %llu failed\n",
                static_cast<unsigned long long>(soak.rounds()), static_cast<unsigned long long>(soak.provoked()),
                static_cast<unsigned long long>(soak.failed()));
    bool good = is_flat("heap", before.heap_kib, after.heap_kib, before.heap_kib / 100 + 128);
    std::printf("%-12s %8ld KiB after the warm-up, %8ld at the end\n", "resident", before.memory_kib, after.memory_kib);
    good &= is_flat("descriptors", before.descriptors, after.descriptors, 0);
    good &= is_flat("threads", before.threads, after.threads, 0);
    std::printf("confirmed messages that never arrived: %zu\n", lost);
    good &= lost == 0;
    return good ? 0 : 1;
}
