// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/kombu.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

/// Threads that publish numbers through pools until stop(), and what they met.
class Publishers {
public:
    struct Settings {
        std::size_t threads = 16;
        kombu::PublishOptions publish{};
        std::chrono::milliseconds acquire_timeout{20'000};
        /// Between two messages of a thread.
        std::chrono::milliseconds pause{0};
    };

    Publishers(kombu::pools::Producers& producers, kombu::Connection broker, Settings settings)
        : producers_(producers), broker_(std::move(broker)), settings_(std::move(settings)), last_(settings_.threads) {
        for (std::size_t thread = 0; thread < settings_.threads; ++thread)
            threads_.emplace_back([this, thread] { publish_until_stopped(thread); });
    }
    Publishers(const Publishers&) = delete;
    Publishers& operator=(const Publishers&) = delete;
    ~Publishers() { stop(); }

    void stop() {
        done_ = true;
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }
    /// Whether every thread has published a message that it began after this time.
    bool all_published_since(kombu::Clock::time_point time) const {
        const std::lock_guard lock{mutex_};
        return std::ranges::all_of(last_, [&](kombu::Clock::time_point last) { return last > time; });
    }
    bool any_published_since(kombu::Clock::time_point time) const {
        const std::lock_guard lock{mutex_};
        return std::ranges::any_of(last_, [&](kombu::Clock::time_point last) { return last > time; });
    }
    std::uint64_t failures() const { return failures_; }
    /// The numbers of the messages that were confirmed.
    std::vector<int> confirmed() const {
        const std::lock_guard lock{mutex_};
        return confirmed_;
    }
    std::vector<std::string> errors() const {
        const std::lock_guard lock{mutex_};
        return errors_;
    }
    /// The longest time by which a call was later than its timeout.
    std::chrono::nanoseconds latest() const {
        const std::lock_guard lock{mutex_};
        return latest_;
    }
    /// The longest time between two messages that were confirmed, on whatever threads.
    std::chrono::nanoseconds longest_gap() const {
        const std::lock_guard lock{mutex_};
        return longest_gap_;
    }

private:
    void publish_until_stopped(std::size_t thread) {
        while (!done_) {
            const int number = next_++;
            const auto begin = kombu::Clock::now();
            auto publish_begin = begin;
            try {
                auto producer = producers_[broker_].acquire({.block = true, .timeout = settings_.acquire_timeout});
                publish_begin = kombu::Clock::now();
                producer->publish(number, settings_.publish);
                const auto now = kombu::Clock::now();
                const std::lock_guard lock{mutex_};
                confirmed_.push_back(number);
                last_[thread] = begin;
                if (last_success_ != kombu::Clock::time_point{})
                    longest_gap_ = std::max<std::chrono::nanoseconds>(longest_gap_, now - last_success_);
                last_success_ = now;
                if (settings_.publish.timeout.has_value())
                    latest_ = std::max(latest_, now - publish_begin - settings_.publish.timeout.value());
            } catch (const std::exception& error) {
                const auto now = kombu::Clock::now();
                ++failures_;
                const std::lock_guard lock{mutex_};
                if (errors_.size() < 100) errors_.push_back(error.what());
                if (settings_.publish.timeout.has_value())
                    latest_ = std::max(latest_, now - publish_begin - settings_.publish.timeout.value());
            }
            if (settings_.pause.count() != 0) std::this_thread::sleep_for(settings_.pause);
        }
    }

    kombu::pools::Producers& producers_;
    const kombu::Connection broker_;
    const Settings settings_;
    std::atomic<bool> done_{false};
    std::atomic<int> next_{0};
    std::atomic<std::uint64_t> failures_{0};
    mutable std::mutex mutex_;
    std::vector<kombu::Clock::time_point> last_;
    std::vector<int> confirmed_;
    std::vector<std::string> errors_;
    std::chrono::nanoseconds latest_ = std::chrono::nanoseconds::min();
    std::chrono::nanoseconds longest_gap_{0};
    kombu::Clock::time_point last_success_{};
    std::vector<std::thread> threads_;
};
