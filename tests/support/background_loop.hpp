// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>

#include <future>
#include <stop_token>

/// Runs a loop on a thread, until its end of scope at the latest.
class BackgroundLoop {
public:
    explicit BackgroundLoop(kombu::ConsumerLoop& loop)
        : report_(std::async(std::launch::async, [&loop, token = stop_.get_token()] { return loop.run(token); })) {}
    BackgroundLoop(const BackgroundLoop&) = delete;
    BackgroundLoop& operator=(const BackgroundLoop&) = delete;
    ~BackgroundLoop() { stop_.request_stop(); }

    void request_stop() { stop_.request_stop(); }
    kombu::StopReport wait() { return report_.get(); }
    kombu::StopReport stop() {
        request_stop();
        return wait();
    }

private:
    std::stop_source stop_{};
    std::future<kombu::StopReport> report_;
};
