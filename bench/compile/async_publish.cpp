// SPDX-License-Identifier: BSD-3-Clause
// A coroutine that acquires a producer and publishes.
#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

using namespace std::chrono_literals;
namespace asio = boost::asio;

asio::awaitable<void> publish(const kombu::Connection& connection, const kombu::Json& article) {
    auto producer = co_await kombu::pools::producers[connection].async_acquire({.timeout = 5s}, asio::use_awaitable);
    const kombu::PublishOptions options{.routing_key = "domestic"};
    co_await producer->async_publish(article, options, asio::use_awaitable);
}
