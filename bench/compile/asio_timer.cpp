// SPDX-License-Identifier: BSD-3-Clause
// Baseline of async_publish.cpp: a coroutine that awaits a timer.
#include <boost/asio.hpp>

#include <chrono>

namespace asio = boost::asio;

asio::awaitable<void> wait_a_second() {
    asio::steady_timer timer{co_await asio::this_coro::executor, std::chrono::seconds{1}};
    co_await timer.async_wait(asio::use_awaitable);
}
