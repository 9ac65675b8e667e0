// SPDX-License-Identifier: BSD-3-Clause
// A coroutine that publishes and gets through the installed kombu/asio.hpp.
#include <kombu/asio.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio.hpp>

#include <iostream>

namespace asio = boost::asio;

static asio::awaitable<bool> there_and_back(const kombu::Connection& broker) {
    auto lease = co_await kombu::pools::connections[broker].async_acquire(asio::use_awaitable);
    auto queue = co_await lease->async_simple_queue("there", asio::use_awaitable);
    const kombu::PublishOptions options;
    co_await queue.async_put("and back", options, asio::use_awaitable);
    kombu::Message message = co_await queue.async_get(asio::use_awaitable);
    co_await message.async_ack(asio::use_awaitable);
    co_return message.payload() == kombu::Json("and back");
}

int main() {
    const kombu::Connection broker{"memory://asio"};
    asio::io_context io;
    bool ok = false;
    asio::co_spawn(io, there_and_back(broker), [&](std::exception_ptr error, bool result) { ok = !error && result; });
    io.run();
    std::cout << (ok ? "asio ok\n" : "asio FAILED\n");
    return ok ? 0 : 1;
}
