// SPDX-License-Identifier: BSD-3-Clause
// A service whose handlers are coroutines of one io_context: many jobs wait at once, and one thread serves them.
//
//     coroutine_worker [URL [SECONDS]]       on the embedded broker, which then has jobs, for a second by default
//
// SIGINT and SIGTERM stop it: handlers that run have ten seconds to end.
#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stop_token>
#include <string>

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

struct Download {
    std::string url{};
    int milliseconds = 0;
    friend void to_json(kombu::Json& json, const Download& job) {
        json = {{"url", job.url}, {"milliseconds", job.milliseconds}};
    }
    friend void from_json(const kombu::Json& json, Download& job) {
        json.at("url").get_to(job.url);
        json.at("milliseconds").get_to(job.milliseconds);
    }
};

/// Stands for a request to another service. A real one would be co_await http.async_read(...).
asio::awaitable<void> download(const Download& job) {
    asio::steady_timer answer{co_await asio::this_coro::executor, std::chrono::milliseconds{job.milliseconds}};
    co_await answer.async_wait(asio::use_awaitable);
    if (job.url.empty()) throw std::invalid_argument("nothing to download");
    std::cout << "downloaded " + job.url + "\n" << std::flush;
}

asio::awaitable<void> serve(kombu::ConsumerLoop& loop, std::stop_source& stop) {
    const kombu::StopReport report = co_await loop.async_run(stop.get_token(), asio::use_awaitable);
    const kombu::ConsumerStats stats = loop.stats();
    std::cout << report.handled << " handled, " << stats.acknowledged << " done, " << stats.rejected << " given up\n";
}

}  // namespace

int main(int argc, char** argv) try {
    const kombu::Connection broker{argc > 1 ? argv[1] : "memory://coroutine_worker"};
    const auto limit = std::chrono::seconds{argc > 2 ? std::atoi(argv[2]) : argc > 1 ? 86'400 : 1};
    const kombu::Queue downloads{"downloads"};

    asio::io_context context{1};
    std::stop_source stop;
    asio::signal_set signals{context, SIGINT, SIGTERM};
    asio::steady_timer timer{context, limit};
    const auto end = [&] {
        stop.request_stop();
        signals.cancel();
        timer.cancel();
    };
    signals.async_wait([&](boost::system::error_code error, int) {
        if (!error) end();
    });
    timer.async_wait([&](boost::system::error_code error) {
        if (!error) end();
    });

    if (argc < 3) {
        auto producer = kombu::pools::producers[broker].acquire({.block = true, .timeout = 5s});
        for (int n = 0; n < 20; ++n)
            producer->publish(Download{"https://example.com/" + std::to_string(n), 100},
                              {.routing_key = downloads.name(), .declare = {downloads}});
        producer->publish(Download{}, {.routing_key = downloads.name()});
    }

    // A hundred downloads at once, on this thread.
    kombu::ConsumerLoop loop{broker, {downloads}, {.threads = 100, .drain_timeout = 10s}};
    loop.on_message([](const Download& job) -> asio::awaitable<void> { co_await download(job); });

    std::exception_ptr error;
    asio::co_spawn(context, serve(loop, stop), [&](std::exception_ptr thrown) {
        error = thrown;
        end();
    });
    context.run();
    if (error) std::rethrow_exception(error);
    return 0;
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
